//! The log as a stream of rows over its pages.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt};

use super::Client;
use super::error::{Error, ErrorKind};
use super::log::{LogEntry, LogQuery, LogsPage};

/// The most pages in a row that may be empty, or repeat one that was there, though the log is said to go on.
const MAX_IDLE_PAGES: u32 = 8;

/// The rows of the log, the newest first: a [`Stream`] that also can be asked without one's trait.
///
/// A page is fetched when its first row is asked for. After an error there is nothing more. A log whose pages lead in
/// a circle ends with [`ErrorKind::EndlessLog`].
///
/// While it is read, the log grows. v2's cursors do not mind. v1's page numbers count from the newest row, so that new
/// rows push others to the next page, where they are seen again: recognise them by their id.
pub struct Logs(BoxStream<'static, Result<LogEntry, Error>>);

impl Logs {
    pub(super) fn new(client: Client, query: LogQuery) -> Self {
        let rows = pages(client, query).flat_map(|page| {
            let rows = match page {
                Ok(page) => page.entries.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            stream::iter(rows)
        });
        Self(rows.boxed())
    }

    /// The next row; `None` behind the last one.
    ///
    /// # Errors
    ///
    /// When the next page cannot be read.
    pub async fn try_next(&mut self) -> Result<Option<LogEntry>, Error> {
        self.0.next().await.transpose()
    }
}

impl Stream for Logs {
    type Item = Result<LogEntry, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(cx)
    }
}

impl fmt::Debug for Logs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Logs").finish_non_exhaustive()
    }
}

/// The pages from `query` on, each fetched when it is asked for.
pub(super) fn pages(client: Client, query: LogQuery) -> BoxStream<'static, Result<LogsPage, Error>> {
    let begin = (client, Some(query), Guard::default());
    let pages = stream::unfold(begin, |(client, query, mut guard)| async move {
        let asked = query?;
        let page = match client.logs_page(&asked).await {
            Ok(page) if guard.admits(&asked, &page) => Ok(page),
            Ok(_) => Err(Error::endless_log()),
            Err(error) => Err(error),
        };
        let next = page.as_ref().ok().and_then(|page| page.next().cloned());
        Some((page, (client, next, guard)))
    });
    // Fused: a stream that is asked again behind its end has ended, and does not panic.
    pages.fuse().boxed()
}

/// Sees to it that a log has an end, whatever the other side says.
#[derive(Default)]
struct Guard {
    cursors: HashSet<String>,
    /// The ends of pages, as numbers that take less room than they do.
    seen: HashSet<u64>,
    hasher: RandomState,
    idle: u32,
}

impl Guard {
    fn admits(&mut self, asked: &LogQuery, page: &LogsPage) -> bool {
        // Another page than was asked for: the number is not understood, so that each page would be the first.
        if let (Some(asked), Some(answered)) = (asked.page, page.page)
            && asked != answered
        {
            return false;
        }
        let Some(next) = page.next() else {
            return true;
        };
        // A cursor leads to one place only: who has been there goes in a circle.
        if next.after.clone().is_some_and(|cursor| next.after == asked.after || !self.cursors.insert(cursor)) {
            return false;
        }
        let end = |row: Option<&LogEntry>| row.map(|row| self.hasher.hash_one(&row.id));
        let ends = self.hasher.hash_one((end(page.entries.first()), end(page.entries.last())));
        let idle = page.entries.is_empty() || !self.seen.insert(ends);
        self.idle = if idle { self.idle + 1 } else { 0 };
        self.idle < MAX_IDLE_PAGES
    }
}

impl Error {
    pub(super) fn endless_log() -> Self {
        Self::new("read the log", ErrorKind::EndlessLog, None, 1, None, false)
    }
}
