//! Deliveries as the statement that keeps them takes them: a column at a time.

use tokio_postgres::types::ToSql;

use super::accept::Job;
use crate::inbox::row::write_headers;
use crate::time::Timestamp;

/// The columns, and the locks of the entities that are among them.
#[derive(Default)]
pub(super) struct Columns<'a> {
    pub(super) locks: Vec<i64>,
    keys: Vec<&'a [u8]>,
    fingerprints: Vec<Vec<u8>>,
    nonces: Vec<&'a [u8]>,
    due: Vec<i64>,
    received: Vec<i64>,
    signed: Vec<Option<i64>>,
    sources: Vec<&'a str>,
    tenants: Vec<Option<&'a str>>,
    ids: Vec<Option<&'a str>>,
    event_types: Vec<Option<&'a str>>,
    key_ids: Vec<&'a str>,
    entities: Vec<Option<String>>,
    hashes: Vec<Option<i64>>,
    authenticated: Vec<i16>,
    digests: Vec<Option<&'a [u8]>>,
    headers: Vec<String>,
    bodies: Vec<&'a [u8]>,
}

impl<'a> Columns<'a> {
    pub(super) fn of(jobs: &[&'a Job], salt: i64) -> Self {
        let mut columns = Self::default();
        for job in jobs {
            columns.push(job);
        }
        columns.locks = columns.hashes.iter().flatten().map(|hash| lock_of(*hash, salt)).collect();
        columns.locks.sort_unstable();
        columns.locks.dedup();
        columns
    }

    fn push(&mut self, job: &'a Job) {
        let (incoming, delivery) = (&job.incoming, &job.incoming.delivery);
        self.keys.push(incoming.key.as_bytes());
        self.fingerprints.push(incoming.fingerprint.as_u128().to_be_bytes().to_vec());
        self.nonces.push(&job.nonce);
        self.due.push(job.now.as_millis());
        self.received.push(delivery.received_at.as_millis());
        self.signed.push(delivery.timestamp.map(Timestamp::as_millis));
        self.sources.push(delivery.source.as_str());
        self.tenants.push(delivery.tenant.as_ref().map(AsRef::as_ref));
        self.ids.push(delivery.id.as_ref().map(AsRef::as_ref));
        self.event_types.push(delivery.event_type.as_ref().map(AsRef::as_ref));
        self.key_ids.push(delivery.key_id.as_str());
        self.entities.push(incoming.entity.as_deref().map(text));
        self.hashes.push(incoming.entity.as_deref().map(hash_of));
        self.authenticated.push(i16::from(delivery.authenticated.bits()));
        self.digests.push(delivery.content_digest.as_ref().map(<[u8; 32]>::as_slice));
        self.headers.push(write_headers(&delivery.headers));
        self.bodies.push(&delivery.raw);
    }

    /// In the order of the statement's parameters.
    pub(super) fn params(&self) -> [&(dyn ToSql + Sync); 17] {
        [
            &self.keys,
            &self.fingerprints,
            &self.nonces,
            &self.due,
            &self.received,
            &self.signed,
            &self.sources,
            &self.tenants,
            &self.ids,
            &self.event_types,
            &self.key_ids,
            &self.entities,
            &self.hashes,
            &self.authenticated,
            &self.digests,
            &self.headers,
            &self.bodies,
        ]
    }
}

/// An entity as its rows are found by: of any length, and with any letters in it, it is 64 bits. Should two of them ever
/// be one number, they wait for one another and nothing else.
pub(super) fn hash_of(entity: &str) -> i64 {
    xxhash_rust::xxh3::xxh3_64(entity.as_bytes()).cast_signed()
}

/// What the changes of an entity are made under, one at a time. `salt` is the schema's: two of them share a database, and
/// nothing else.
pub(super) fn lock_of(entity: i64, salt: i64) -> i64 {
    entity ^ salt
}

/// The schema's own salt.
pub(super) fn salt_of(schema: &str) -> i64 {
    hash_of(schema).wrapping_mul(3)
}

/// A text as PostgreSQL takes it: it knows no NUL, and has a question mark there.
pub(super) fn text(text: &str) -> String {
    text.replace('\0', "?")
}

pub(super) fn hex(number: u128) -> String {
    format!("{number:032x}")
}
