//! One line for each request.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use countersign::{Delivery, DeliveryId, Disposition, Timestamp};
use serde::Serialize;
use tokio::sync::Notify;

use crate::exit::Failure;
use crate::output::{self, BAD, FAINT, GOOD, ODD, Out, STRONG};
use crate::sign::event_type_of;

/// Prints requests, and knows when it is enough.
pub(super) struct Reporter {
    out: Out,
    show_body: bool,
    /// How many more verified deliveries; without end when `None`.
    left: Option<AtomicU64>,
    enough: Notify,
    hinted: AtomicBool,
}

/// A request and what became of it.
pub(super) struct Report<'a> {
    pub(super) at: Timestamp,
    pub(super) path: &'a str,
    pub(super) size: usize,
    pub(super) status: u16,
    /// `None` when nothing was verified, for want of a secret.
    pub(super) disposition: Option<&'a Disposition>,
    /// What is known of it once its signature is right.
    pub(super) delivery: Option<&'a Delivery>,
    /// What the forward answered, or why it did not.
    pub(super) forwarded: Option<&'a Result<u16, String>>,
    pub(super) captured: Option<PathBuf>,
}

/// With `--json`: one line for each request. What is not verified has no `event_type`, `id`, `key_id` or `signed_at`.
#[derive(Serialize)]
struct Line<'a> {
    at: String,
    /// `handled`, `duplicate`, `rejected`, `released`, … or `unverified` without a secret.
    outcome: &'a str,
    verified: bool,
    status: u16,
    reason: Option<String>,
    event_type: Option<String>,
    id: Option<&'a str>,
    key_id: Option<&'a str>,
    signed_at: Option<String>,
    path: &'a str,
    size: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    forward_status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    forward_error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    captured: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<String>,
}

impl Reporter {
    pub(super) fn new(out: Out, show_body: bool, count: Option<u64>) -> Self {
        let left = count.map(AtomicU64::new);
        Self { out, show_body, left, enough: Notify::new(), hinted: AtomicBool::new(false) }
    }

    /// Resolves when there is no use in going on.
    pub(super) async fn enough(&self) {
        self.enough.notified().await;
    }

    pub(super) fn print(&self, report: &Report<'_>) {
        if self.try_print(report).is_err() {
            // Nobody reads any more.
            self.enough.notify_one();
        }
        let handled = matches!(report.disposition, Some(Disposition::Handled));
        if let Some(left) = self.left.as_ref().filter(|_| handled) {
            let before = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| Some(left.saturating_sub(1)));
            if before.is_ok_and(|left| left <= 1) {
                self.enough.notify_one();
            }
        }
    }

    /// Something beside the requests.
    pub(super) fn note(&self, text: &str) {
        self.out.note(text);
    }

    fn try_print(&self, report: &Report<'_>) -> Result<(), Failure> {
        let line = Line::new(report, self.show_body);
        self.out.either(&line, |out| {
            out.line(human(&line, report, out))?;
            line.body.iter().try_for_each(|body| out.line(output::visible_lines(body)))
        })?;
        if let (Some(path), Some(Disposition::Rejected(_)) | None) = (&report.captured, report.disposition)
            && !self.out.json()
            && !self.hinted.swap(true, Ordering::Relaxed)
        {
            let hint = format!("find out how it is signed: countersign identify --request {}", path.display());
            self.note(&self.out.styled(FAINT, hint));
        }
        Ok(())
    }
}

impl<'a> Line<'a> {
    fn new(report: &Report<'a>, show_body: bool) -> Self {
        let delivery = report.delivery;
        let event_type = |delivery: &Delivery| {
            delivery.event_type().cloned().or_else(|| event_type_of(delivery.raw())).map(|found| found.to_string())
        };
        let shown = delivery.filter(|_| show_body && !matches!(report.disposition, Some(Disposition::Duplicate)));
        Self {
            at: report.at.to_string(),
            outcome: report.disposition.map_or("unverified", Disposition::outcome),
            verified: delivery.is_some(),
            status: report.status,
            reason: report.disposition.and_then(Disposition::reason),
            event_type: delivery.and_then(event_type),
            id: delivery.and_then(Delivery::id).map(DeliveryId::as_str),
            key_id: delivery.map(|delivery| delivery.key_id().as_str()),
            signed_at: delivery.and_then(Delivery::timestamp).map(|time| time.to_string()),
            path: report.path,
            size: report.size,
            forward_status: report.forwarded.and_then(|forwarded| forwarded.as_ref().ok().copied()),
            forward_error: report.forwarded.and_then(|forwarded| forwarded.as_ref().err().map(String::as_str)),
            captured: report.captured.as_ref().map(|path| path.display().to_string()),
            body: shown.map(|delivery| String::from_utf8_lossy(delivery.raw()).into_owned()),
        }
    }
}

fn human(line: &Line<'_>, report: &Report<'_>, out: &Out) -> String {
    let (style, word) = match report.disposition {
        Some(Disposition::Handled) => (GOOD, "verified"),
        Some(Disposition::Duplicate) => (ODD, "duplicate"),
        Some(Disposition::InFlight) => (ODD, "in flight"),
        Some(Disposition::Released | Disposition::TimedOut | Disposition::Panicked) => (BAD, "returned"),
        Some(_) => (BAD, "refused"),
        None => (ODD, "unverified"),
    };
    let time = line.at.get(11..19).unwrap_or(&line.at);
    let mut shown = format!(
        "{}  {}  {}",
        out.styled(FAINT, time),
        out.styled(style, format!("{word:<10}")),
        out.styled(FAINT, line.status),
    );
    let mut add = |text: String| shown.push_str(&format!("  {text}"));
    match report.delivery {
        Some(_) => {
            add(out.styled(STRONG, line.event_type.as_deref().unwrap_or("(no type)")));
            add(line.id.unwrap_or("(no id)").to_owned());
            add(out.styled(FAINT, format!("key {}", line.key_id.unwrap_or_default())));
        }
        None => add(out.styled(FAINT, output::visible(line.path))),
    }
    add(out.styled(FAINT, output::size(line.size)));
    match &line.reason {
        Some(reason) => add(output::visible(&reason.replace('_', " "))),
        None if report.delivery.is_none() && report.disposition.is_some() => add(line.outcome.replace('_', " ")),
        None => {}
    }
    match report.forwarded {
        Some(Ok(status)) => add(format!("forwarded: {status}")),
        Some(Err(reason)) => add(format!("not forwarded: {}", output::visible(reason))),
        None => {}
    }
    if let Some(path) = &line.captured {
        add(out.styled(FAINT, format!("→ {path}")));
    }
    shown
}
