//! Which claim keys are in the file: a question with the same price at ten thousand rows and at a million.
//!
//! Claim keys are digests, so in one index over all of them each new key lands on a page of its own, which is read,
//! logged and copied back for the sake of a few bytes; and the more rows there are, the more such pages. Here the index is
//! cut by age instead: the rows of one *generation* have successive numbers, and new keys land on the few pages of the
//! newest. That costs a lookup in each generation, which a filter in memory answers almost always: it says "certainly
//! not" of all keys but one in some hundreds. Whatever it does not exclude is looked up, and the whole key compared.
//!
//! A filter only ever saves a lookup. It holds at least what the file holds, because there is one writer at a time: what
//! other processes have added is read at the beginning of each transaction, before the first question.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, Transaction, params};

use crate::dedupe::ClaimKey;

/// How many numbers a generation has, as a power of two: about 60 pages of keys, few enough for most of them to be shared
/// by the deliveries of one commit, and 122 generations for a million rows.
const SHIFT: u32 = 13;

/// Bits of a filter for each key of its generation: with five of them set by a key, one lookup in some hundreds is in
/// vain, and a million rows are 2 MiB.
const BITS_EACH: usize = 16;

/// The bits of one key are in one cache line.
const LINE: usize = 512;

const LINES: usize = (BITS_EACH << SHIFT) / LINE;

/// The filters of one process, over a file that one connection of it writes to.
#[derive(Debug, Default)]
pub(super) struct Keys {
    filters: BTreeMap<i64, Filter>,
    /// The rows up to this number have been read.
    seen: i64,
    /// Whether this transaction began after `seen` was true.
    stale: bool,
    loaded: bool,
}

#[derive(Debug)]
struct Filter(Box<[[u64; LINE / 64]]>);

impl Keys {
    /// A transaction begins: others may have written since the last one.
    pub(super) fn begin(&mut self) {
        self.stale = true;
    }

    /// What `read` makes of the columns `number, state, fingerprint, finished_at` of the row with this key.
    pub(super) fn find<T>(
        &mut self,
        tx: &Transaction<'_>,
        key: &ClaimKey,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<Option<T>> {
        self.catch_up(tx)?;
        let hash = key.word::<0>();
        // The newest first: most duplicates come soon.
        for (generation, filter) in self.filters.iter().rev() {
            if !filter.may_hold(hash) {
                continue;
            }
            let mut row = tx.prepare_cached(
                "SELECT number, state, fingerprint, finished_at FROM countersign_inbox_key CROSS JOIN countersign_inbox \
                 USING (number) WHERE generation = ?1 AND hash = ?2 AND claim = ?3",
            )?;
            let found = row.query_row(params![generation, hash.cast_signed(), key.as_bytes()], &read).optional()?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The row `number`, new in this transaction, has this key.
    pub(super) fn add(&mut self, tx: &Transaction<'_>, key: &ClaimKey, number: i64) -> rusqlite::Result<()> {
        let (generation, hash) = (generation(number), key.word::<0>());
        let mut row = tx.prepare_cached("INSERT INTO countersign_inbox_key VALUES (?1, ?2, ?3)")?;
        row.execute(params![generation, hash.cast_signed(), number])?;
        self.note(tx, generation, hash)
    }

    /// Reads what has been added since the last time, by whomever.
    fn catch_up(&mut self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        if !self.stale {
            return Ok(());
        }
        if !self.loaded {
            self.load(tx)?;
            self.loaded = true;
        }
        let mut rows = tx.prepare_cached("SELECT number, claim FROM countersign_inbox WHERE number > ?1 ORDER BY number")?;
        let mut rows = rows.query([self.seen])?;
        while let Some(row) = rows.next()? {
            let number = row.get(0)?;
            self.note(tx, generation(number), ClaimKey::from_bytes(row.get(1)?).word::<0>())?;
            self.seen = number;
        }
        self.stale = false;
        Ok(())
    }

    fn load(&mut self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        self.filters.clear();
        let mut rows = tx.prepare("SELECT generation, hash FROM countersign_inbox_key")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            self.filters.entry(row.get(0)?).or_default().add(row.get::<_, i64>(1)?.cast_unsigned());
        }
        let last = tx.query_row("SELECT max(number) FROM countersign_inbox", [], |row| row.get::<_, Option<i64>>(0))?;
        self.seen = last.unwrap_or(0);
        Ok(())
    }

    fn note(&mut self, tx: &Transaction<'_>, generation: i64, hash: u64) -> rusqlite::Result<()> {
        if !self.filters.contains_key(&generation) {
            self.drop_the_empty(tx)?;
        }
        self.filters.entry(generation).or_default().add(hash);
        Ok(())
    }

    /// Lets go of the filters of generations that have been forgotten.
    fn drop_the_empty(&mut self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut any = tx.prepare_cached("SELECT 1 FROM countersign_inbox_key WHERE generation = ?1 LIMIT 1")?;
        let mut empty = Vec::new();
        for generation in self.filters.keys() {
            if !any.exists([generation])? {
                empty.push(*generation);
            }
        }
        for generation in empty {
            self.filters.remove(&generation);
        }
        Ok(())
    }
}

/// The row `number` is gone, which had this key.
pub(super) fn forget(tx: &Transaction<'_>, key: &ClaimKey, number: i64) -> rusqlite::Result<()> {
    let mut row =
        tx.prepare_cached("DELETE FROM countersign_inbox_key WHERE generation = ?1 AND hash = ?2 AND number = ?3")?;
    row.execute(params![generation(number), key.word::<0>().cast_signed(), number])?;
    Ok(())
}

/// Enters the keys of all rows, for tables that were made before there was an index of keys by generation.
pub(super) fn enter_all(tx: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut rows = tx.prepare("SELECT number, claim FROM countersign_inbox")?;
    let mut enter = tx.prepare("INSERT INTO countersign_inbox_key VALUES (?1, ?2, ?3)")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (number, key) = (row.get(0)?, ClaimKey::from_bytes(row.get(1)?));
        enter.execute(params![generation(number), key.word::<0>().cast_signed(), number])?;
    }
    Ok(())
}

const fn generation(number: i64) -> i64 {
    number >> SHIFT
}

impl Filter {
    fn add(&mut self, hash: u64) {
        let (line, bits) = places(hash);
        for bit in bits {
            self.0[line][bit / 64] |= 1 << (bit % 64);
        }
    }

    fn may_hold(&self, hash: u64) -> bool {
        let (line, bits) = places(hash);
        bits.iter().all(|bit| self.0[line][bit / 64] & (1 << (bit % 64)) != 0)
    }
}

impl Default for Filter {
    fn default() -> Self {
        Self(vec![[0; LINE / 64]; LINES].into())
    }
}

/// Which line is a key's, and which five bits of it: different bits of the hash, which is part of a digest.
fn places(hash: u64) -> (usize, [usize; 5]) {
    let line = (hash % LINES as u64) as usize;
    let rest = hash / LINES as u64;
    (line, [0, 9, 18, 27, 36].map(|shift| (rest >> shift) as usize % LINE))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes as they come: the words of digests.
    fn hash(number: u64) -> u64 {
        let mut bytes = [0; 32];
        for (at, chunk) in bytes.chunks_mut(16).enumerate() {
            let digest = crate::dedupe::Fingerprint::of(&[number.to_le_bytes(), [at as u8; 8]].concat());
            chunk.copy_from_slice(&digest.as_u128().to_le_bytes());
        }
        ClaimKey::from_bytes(bytes).word::<0>()
    }

    #[test]
    fn a_full_filter_holds_all_of_its_keys_and_excludes_all_but_one_in_two_hundred_of_the_others() {
        let mut filter = Filter::default();
        let count = 1 << SHIFT;
        (0..count).for_each(|number| filter.add(hash(number)));
        assert!((0..count).all(|number| filter.may_hold(hash(number))));
        let others = 100_000;
        let wrong = (count..count + others).filter(|number| filter.may_hold(hash(*number))).count();
        assert!(wrong < others as usize / 200, "{wrong} of {others}");
    }
}
