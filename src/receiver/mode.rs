//! The two ways in which a receiver works.

use bytes::Bytes;

use crate::causes::in_one_line;
use crate::dedupe::DedupeStore;
use crate::dispatch::Handlers;
use crate::meter;
use crate::receiver::{Disposition, Receiver, Record, named};
use crate::time::Timestamp;
use crate::verify::Verified;

/// How a `Receiver<H, S>` works on what it has verified. `S` says which of the two it is:
///
/// - a [`DedupeStore`]: **inline**. The handlers `H` run before the sender is answered, under a claim of the store.
/// - an [`Inbox`](crate::inbox::Inbox): **durable**. The delivery is kept, the sender answered, and handlers run later,
///   from the inbox; there is no `H` here.
///
/// There are no others: nobody outside can implement it.
#[diagnostic::on_unimplemented(
    message = "a receiver cannot work with handlers `{H}` and store `{Self}`",
    note = "inline: `.handlers(..)`, with a store in `.dedupe(..)` or the default one",
    note = "durable: `.inbox(..)`, and the handlers in `inbox.workers(..)`"
)]
pub trait Mode<H>: Sized + Send + Sync + 'static {
    /// All that comes after verification.
    #[doc(hidden)]
    fn work(
        receiver: &Receiver<H, Self>,
        verified: &mut Verified<Bytes>,
        now: Timestamp,
        record: &Record,
    ) -> impl Future<Output = Disposition> + Send;

    /// Whether what remembers could record something now; otherwise why not.
    #[doc(hidden)]
    fn could_record(&self) -> impl Future<Output = Result<(), String>> + Send;
}

impl<H: Handlers, S: DedupeStore> Mode<H> for S {
    async fn work(
        receiver: &Receiver<H, Self>,
        verified: &mut Verified<Bytes>,
        now: Timestamp,
        record: &Record,
    ) -> Disposition {
        receiver.work(verified, now, record).await
    }

    async fn could_record(&self) -> Result<(), String> {
        let pinged = meter::timed(named::<S>(), "ping", DedupeStore::ping(self)).await;
        pinged.map_err(|error| in_one_line(&error))
    }
}
