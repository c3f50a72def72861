//! From an event to deliveries in the store; and the inline test, which has no place there.

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::scheduler::{self, Command};
use super::trigger::{Checked, Trigger, Triggered};
use super::{Core, TestOutcome, attempt, example, lock};
use crate::keyring::Secret;
use crate::sandbox::event_types::TEST;
use crate::sandbox::store::NewEvents;
use crate::sandbox::{Assumptions, SandboxError, TestSigning};
use crate::time::{Clock as _, SystemClock};

/// How many row writes one transaction of a trigger makes at most.
const BATCH: u64 = 512;

/// How often a trigger with a rate wakes up at most.
const TICK: Duration = Duration::from_millis(5);

/// Puts the events of a trigger into the store, and tells the scheduler.
pub(super) async fn emit(
    core: Arc<Core>,
    commands: mpsc::Sender<Command>,
    tenant: i64,
    trigger: Checked,
    each: u64,
) -> Result<Triggered, SandboxError> {
    let mut speed = core.speed.subscribe();
    let mut triggered = Triggered::default();
    let batch = (BATCH / each.max(1)).max(1);
    // With a rate: how many are due by now. The first one is at once.
    let mut owed = 1.0;
    let mut last = Instant::now();
    while triggered.events < trigger.count {
        let mut count = batch.min(trigger.count - triggered.events);
        if let Some(rate) = trigger.rate {
            let rate = rate * *speed.borrow_and_update();
            if owed < 1.0 {
                let wait = Duration::try_from_secs_f64((1.0 - owed) / rate).unwrap_or(Duration::MAX).max(TICK);
                // A change of speed ends the wait, too.
                let _ = tokio::time::timeout(wait, speed.changed()).await;
            }
            owed += last.elapsed().as_secs_f64() * rate;
            last = Instant::now();
            count = count.min(owed as u64);
            owed -= count as f64;
        }
        if count > 0 {
            let new = NewEvents {
                tenant,
                event_type: &trigger.event_type,
                id_prefix: &core.assumptions.id_prefix,
                max_attempts: core.assumptions.max_attempts.max(1),
                now: scheduler::now(),
            };
            // It was made once before, without a mistake.
            let body = |id: &str| {
                let body = core.delivering.signing.body(&trigger.event_type, &trigger.data, id);
                body.map(String::into_bytes).unwrap_or_default()
            };
            let count_of_rows = usize::try_from(count).unwrap_or(usize::MAX);
            let added = tokio::task::block_in_place(|| core.store.add_events(&new, count_of_rows, body))?;
            triggered.events += count;
            triggered.deliveries += added.len() as u64;
            let room = Trigger::MAX_IDS.saturating_sub(triggered.delivery_ids.len());
            triggered.delivery_ids.extend(added.iter().take(room).map(|due| due.id.clone()));
            core.unfinished.send_modify(|unfinished| *unfinished += added.len() as u64);
            commands.send(Command::Added(added)).map_err(|_| SandboxError::Stopped)?;
        }
        tokio::task::yield_now().await;
    }
    Ok(triggered)
}

/// One delivery outside of the queue, with neither faults nor retries.
pub(super) async fn test(core: &Core, tenant: i64, url: &str) -> Result<TestOutcome, SandboxError> {
    let Assumptions { id_prefix, test_signing, .. } = &core.assumptions;
    let id = format!("{id_prefix}{}", Uuid::now_v7().simple());
    let data = example::data(TEST, core.store.is_live(tenant)?);
    let body = core.delivering.signing.body(TEST, &data, &id)?;
    let now = scheduler::now();
    let (subscription, secrets) = match test_signing {
        TestSigning::Subscription => core.store.secrets_for_url(tenant, url, now)?,
        TestSigning::TenantSecret => (None, vec![core.store.tenant_secret(tenant)?]),
        TestSigning::Unsigned => (None, Vec::new()),
    };
    let secrets: Vec<_> = secrets.into_iter().filter_map(|secret| Secret::new(secret).ok()).collect();
    let signing = (!secrets.is_empty(), subscription);
    let new = NewEvents { tenant, event_type: TEST, id_prefix, max_attempts: 1, now };
    let sent = attempt::run_test(&core.delivering, &id, url, body.as_bytes(), secrets, SystemClock.now()).await;
    let delivered = sent.status.is_some_and(attempt::is_success);
    let outcome = (delivered, sent.status, sent.error.as_deref());
    core.store.add_test(&new, &id, url, body.as_bytes(), signing, outcome)?;
    sent.requests.into_iter().for_each(|request| lock(&core.attempts).push(request));
    Ok(TestOutcome { http_status_code: sent.status, error: sent.error })
}
