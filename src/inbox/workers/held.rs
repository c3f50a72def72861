//! The leases that this process holds.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::inbox::store::Lease;
use crate::time::Timestamp;

/// What is being worked on.
#[derive(Debug, Default)]
pub(super) struct Held {
    leases: Mutex<HashMap<u128, One>>,
}

#[derive(Debug)]
struct One {
    lease: Lease,
    /// When it runs out, as far as is known here.
    end: Timestamp,
    say: watch::Sender<Word>,
}

/// What is said to somebody at work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Carry on.
    Go,
    /// Stop: somebody else has the delivery now.
    Lost,
    /// Stop and give it back: the process ends.
    Release,
}

/// One of the leases, for as long as this is kept: nothing renews it afterwards.
#[derive(Debug)]
pub(super) struct Holding {
    held: Arc<Held>,
    pub(super) lease: Lease,
    pub(super) word: watch::Receiver<Word>,
}

impl Held {
    pub(super) fn hold(self: &Arc<Self>, lease: Lease, end: Timestamp) -> Holding {
        let (say, word) = watch::channel(Word::Go);
        self.lock().insert(lease.token, One { lease, end, say });
        Holding { held: Arc::clone(self), lease, word }
    }

    /// All that are held now.
    pub(super) fn all(&self) -> Vec<Lease> {
        self.lock().values().map(|one| one.lease).collect()
    }

    /// Whether one of them has run out at `now`: whoever claims may get it then, this process as well.
    pub(super) fn has_run_out(&self, now: Timestamp) -> bool {
        self.lock().values().any(|one| one.end <= now && *one.say.borrow() != Word::Lost)
    }

    pub(super) fn extended(&self, lease: &Lease, end: Timestamp) {
        if let Some(one) = self.lock().get_mut(&lease.token) {
            one.end = end;
        }
    }

    pub(super) fn lost(&self, lease: &Lease) {
        if let Some(one) = self.lock().get(&lease.token) {
            one.say.send_replace(Word::Lost);
        }
    }

    pub(super) fn release_all(&self) {
        for one in self.lock().values() {
            one.say.send_replace(Word::Release);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, One>> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Holding {
    /// Waits until the work is to stop.
    pub(super) async fn stopped(&mut self) -> Word {
        let word = self.word.wait_for(|word| *word != Word::Go).await.map(|word| *word);
        match word {
            Ok(word) => word,
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.held.lock().remove(&self.lease.token);
    }
}
