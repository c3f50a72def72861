//! How a store wakes those who wait for work.

use tokio::sync::watch;

/// Wakes those who wait for something to become due. A clone is another rope of the same bell.
#[derive(Clone, Debug, Default)]
pub struct Bell(watch::Sender<u64>);

/// Hears a [`Bell`].
#[derive(Debug)]
pub struct Listener(watch::Receiver<u64>);

impl Bell {
    /// Wakes all that listen; one that does not wait just now hears it as soon as it does.
    pub fn ring(&self) {
        self.0.send_modify(|rung| *rung = rung.wrapping_add(1));
    }

    /// Hears what is rung from now on.
    #[must_use]
    pub fn listen(&self) -> Listener {
        Listener(self.0.subscribe())
    }
}

impl Listener {
    /// Forgets what was rung so far.
    pub fn hush(&mut self) {
        self.0.mark_unchanged();
    }

    /// Waits for the next ring since the last one that was heard; for ever when the bell is gone.
    pub async fn heard(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
