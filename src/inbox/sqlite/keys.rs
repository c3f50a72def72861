//! Which claim keys are in the file: a question with the same price at ten thousand rows and at a million.
//!
//! Claim keys are digests, so in one index over all of them each new key lands on a page of its own, which is read,
//! logged and copied back for the sake of a few bytes; and the more rows there are, the more such pages. Here the index is
//! cut by age instead: the rows of one *generation* have successive numbers, and new keys land on the few pages of the
//! newest. That costs a lookup in each generation, which a filter in memory answers almost always: it says "certainly
//! not" of all keys but one in a thousand. Whatever it does not exclude is looked up, and the whole key compared.
//!
//! A filter only ever saves a lookup. It holds at least what the file holds, because there is one writer at a time: what
//! other processes have added is read at the beginning of each transaction, before the first question.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, Transaction, params};

use crate::dedupe::ClaimKey;

/// How many numbers a generation has, as a power of two: about 60 pages of keys, few enough for most of them to be shared
/// by the deliveries of one commit, and 122 generations for a million rows.
const SHIFT: u32 = 13;

/// Bits of a filter for each key of its generation: with six of them set by a key, one lookup in a thousand is in vain, and
/// a million rows are 2 MiB.
const BITS_EACH: usize = 16;

/// The bits of one key are near one another: the first of its hash say where, and the others which.
const NEAR: usize = 512;

const BITS: usize = BITS_EACH << SHIFT;

/// How many generations are asked at once: the bits of a word.
const EPOCH: u32 = u64::BITS.ilog2();

/// The filters of one process, over a file that one connection of it writes to.
#[derive(Debug, Default)]
pub(super) struct Keys {
    epochs: BTreeMap<i64, Filters>,
    /// The rows up to this number have been read.
    seen: i64,
    /// The row of that number, as it was. Where it is another one, or none, the file is not the one that was read: somebody
    /// has put an older copy in its place.
    anchor: Option<ClaimKey>,
    /// Whether this transaction began after `seen` was true.
    stale: bool,
    loaded: bool,
}

/// The filters of 64 generations: word `n` holds bit `n` of each of them. So six words tell of all 64.
#[derive(Debug)]
struct Filters {
    words: Box<[u64]>,
    /// Of which generations there are any rows.
    held: u64,
}

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
        for (epoch, filters) in self.epochs.iter().rev() {
            let mut may_hold = filters.may_hold(hash);
            while let Some(newest) = may_hold.checked_ilog2() {
                may_hold ^= 1 << newest;
                let generation = (epoch << EPOCH) | i64::from(newest);
                let mut row = tx.prepare_cached(
                    "SELECT number, state, fingerprint, finished_at FROM countersign_inbox_key \
                     CROSS JOIN countersign_inbox USING (number) WHERE generation = ?1 AND hash = ?2 AND claim = ?3",
                )?;
                let found = row.query_row(params![generation, hash.cast_signed(), key.as_bytes()], &read).optional()?;
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        Ok(None)
    }

    /// The row `number`, new in this transaction, has this key, which was looked for in vain in the same transaction.
    pub(super) fn add(&mut self, tx: &Transaction<'_>, key: &ClaimKey, number: i64) -> rusqlite::Result<()> {
        let (generation, hash) = (generation(number), key.word::<0>());
        let mut row = tx.prepare_cached("INSERT INTO countersign_inbox_key VALUES (?1, ?2, ?3)")?;
        row.execute(params![generation, hash.cast_signed(), number])?;
        // Nobody else writes within this transaction. If it comes to nothing, the anchor says so.
        (self.seen, self.anchor) = (number, Some(*key));
        self.note(tx, generation, hash)
    }

    /// Reads what has been added since the last time, by whomever.
    fn catch_up(&mut self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        if !self.stale {
            return Ok(());
        }
        if !self.loaded || self.anchor != claim_of(tx, self.seen)? {
            self.loaded = false;
            self.load(tx)?;
            self.loaded = true;
        }
        let mut rows =
            tx.prepare_cached("SELECT number, claim FROM countersign_inbox WHERE number > ?1 ORDER BY number")?;
        let mut rows = rows.query([self.seen])?;
        while let Some(row) = rows.next()? {
            let (number, key) = (row.get(0)?, ClaimKey::from_bytes(row.get(1)?));
            self.note(tx, generation(number), key.word::<0>())?;
            (self.seen, self.anchor) = (number, Some(key));
        }
        self.stale = false;
        Ok(())
    }

    fn load(&mut self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        self.epochs.clear();
        let mut rows = tx.prepare("SELECT generation, hash FROM countersign_inbox_key")?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            self.enter(row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned());
        }
        let last = tx.query_row("SELECT max(number) FROM countersign_inbox", [], |row| row.get::<_, Option<i64>>(0))?;
        self.seen = last.unwrap_or(0);
        self.anchor = claim_of(tx, self.seen)?;
        Ok(())
    }

    fn note(&mut self, tx: &Transaction<'_>, generation: i64, hash: u64) -> rusqlite::Result<()> {
        if self.enter(generation, hash) {
            self.leave_the_empty(tx)?;
        }
        Ok(())
    }

    /// Tells whether it is the first of its generation.
    fn enter(&mut self, generation: i64, hash: u64) -> bool {
        let one = 1 << (generation & 63);
        let filters = self.epochs.entry(generation >> EPOCH).or_default();
        for place in places(hash) {
            filters.words[place] |= one;
        }
        let is_first = filters.held & one == 0;
        filters.held |= one;
        is_first
    }

    /// Asks no more of generations of which all has been forgotten.
    fn leave_the_empty(&mut self, tx: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut any = tx.prepare_cached("SELECT 1 FROM countersign_inbox_key WHERE generation = ?1 LIMIT 1")?;
        for (epoch, filters) in &mut self.epochs {
            for at in 0..u64::BITS {
                let one = 1 << at;
                if filters.held & one != 0 && !any.exists([(epoch << EPOCH) | i64::from(at)])? {
                    filters.held ^= one;
                }
            }
        }
        self.epochs.retain(|_, filters| filters.held != 0);
        Ok(())
    }
}

fn claim_of(tx: &Transaction<'_>, number: i64) -> rusqlite::Result<Option<ClaimKey>> {
    let mut row = tx.prepare_cached("SELECT claim FROM countersign_inbox WHERE number = ?1")?;
    row.query_row([number], |row| row.get(0).map(ClaimKey::from_bytes)).optional()
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

impl Filters {
    /// The generations that may have a key of this hash, one bit each.
    fn may_hold(&self, hash: u64) -> u64 {
        places(hash).iter().fold(self.held, |may, place| may & self.words[*place])
    }
}

impl Default for Filters {
    fn default() -> Self {
        Self { words: vec![0; BITS].into(), held: 0 }
    }
}

/// The six bits of a key: different bits of the hash, which is part of a digest.
fn places(hash: u64) -> [usize; 6] {
    let near = (hash as usize % (BITS / NEAR)) * NEAR;
    let rest = hash / (BITS / NEAR) as u64;
    [0, 9, 18, 27, 36, 45].map(|shift| near + (rest >> shift) as usize % NEAR)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes as they come: words of digests.
    fn hash(number: u64) -> u64 {
        crate::dedupe::Fingerprint::of(&number.to_le_bytes()).as_u128() as u64
    }

    #[test]
    fn a_full_filter_holds_all_of_its_keys_and_excludes_all_but_one_in_five_hundred_of_the_others() {
        let mut keys = Keys::default();
        let count = 1 << SHIFT;
        for number in 0..count {
            keys.enter(70, hash(number));
            keys.enter(71, hash(count + number));
        }
        let filters = &keys.epochs[&1];
        assert!((0..count).all(|number| filters.may_hold(hash(number)) & (1 << 6) != 0));
        assert!((count..2 * count).all(|number| filters.may_hold(hash(number)) & (1 << 7) != 0));
        let others = 100_000;
        let wrong: u32 = (0..others).map(|number| filters.may_hold(hash(2 * count + number)).count_ones()).sum();
        assert!(u64::from(wrong) < 2 * others / 500, "{wrong} of {others} in two generations");
    }
}
