//! What an inbox is asked, at random.

use std::time::Duration;

use countersign::inbox::{Incoming, Query, State, StoredDelivery};
use countersign::{Authenticated, ClaimKey, DeliveryId, EventType, Fingerprint, KeyId, Source, Timestamp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// One question, by one of two handles, some time after the one before.
#[derive(Clone, Debug)]
pub struct Step {
    pub pass: Pass,
    pub handle: bool,
    pub what: What,
}

/// How a clock goes on, or back, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct Pass(i64);

#[derive(Clone, Debug)]
pub enum What {
    Accept(Sent),
    Claim {
        limit: usize,
        lease: Duration,
        max_attempts: u32,
    },
    Complete(Which),
    Dead {
        which: Which,
        error: String,
    },
    Extend {
        which: Vec<Which>,
        lease: Duration,
    },
    /// A lease with another token.
    Forge(Which),
    List(Asked),
    Ping,
    Prune(usize),
    Release(Which),
    /// One entry, or all the dead.
    Replay(Option<Index>),
    Retry {
        which: Which,
        pass: Pass,
        error: String,
    },
}

/// Which lease: of those that are good, or of all that there ever were.
#[derive(Clone, Copy, Debug)]
pub struct Which {
    pub any: bool,
    pub index: Index,
}

#[derive(Clone, Debug)]
pub struct Sent {
    key: u8,
    body: u8,
    entity: Option<u8>,
}

#[derive(Clone, Debug)]
pub struct Asked {
    state: Option<State>,
    key: Option<u8>,
    entity: Option<u8>,
    after: Option<Index>,
    before: Option<Index>,
    newest_first: bool,
    finished: Option<Pass>,
    limit: usize,
}

impl Pass {
    pub fn after(self, now: Timestamp) -> Timestamp {
        Timestamp::from_millis(now.as_millis().saturating_add(self.0))
    }
}

impl Sent {
    pub fn incoming(&self, now: Timestamp) -> Incoming {
        let source = Source::new("model").unwrap();
        let id = DeliveryId::new(&format!("msg_{}", self.key)).unwrap();
        let raw = bytes::Bytes::from(format!("{{\"body\":{}}}", self.body));
        Incoming {
            key: ClaimKey::for_id(&source, None, &id),
            fingerprint: Fingerprint::of(&raw),
            entity: self.entity.map(name_of),
            delivery: StoredDelivery {
                source,
                tenant: None,
                id: Some(id),
                event_type: Some(EventType::from_static("a.b")),
                timestamp: Some(Timestamp::from_secs(now.as_secs())),
                received_at: now,
                key_id: KeyId::new("a").unwrap(),
                authenticated: Authenticated::from_bits(self.body & 3),
                content_digest: None,
                headers: vec![("x-signature".to_owned(), vec![self.body, 0xff])],
                raw,
            },
        }
    }
}

fn name_of(entity: u8) -> String {
    format!("model  ent_{entity}")
}

impl Asked {
    pub fn query(&self, now: Timestamp, number: impl Fn(Index) -> i64) -> Query {
        let mut query = self.state.map_or_else(Query::all, Query::of).limit(self.limit);
        if self.newest_first {
            query = query.newest_first();
        }
        if let Some(before) = self.before {
            query = query.before(number(before));
        }
        if let Some(after) = self.after {
            query = query.after(number(after));
        }
        if let Some(key) = self.key {
            query = query.delivery_id(DeliveryId::new(&format!("msg_{key}")).unwrap());
        }
        if let Some(entity) = self.entity {
            query = query.entity(name_of(entity));
        }
        if let Some(finished) = self.finished {
            query = query.finished_until(finished.after(now));
        }
        query
    }
}

fn pass() -> impl Strategy<Value = Pass> {
    let year = 365 * 24 * 3_600_000_i64;
    prop_oneof![
        8 => Just(0),
        4 => Just(1),
        8 => 2_i64..60,
        4 => 60_i64..400,
        2 => -60_i64..0,
        1 => -400_i64..-60,
        1 => prop_oneof![Just(-year), Just(-3_600_000), Just(3_600_000), Just(year)],
    ]
    .prop_map(Pass)
}

fn lease() -> impl Strategy<Value = Duration> {
    prop_oneof![
        1 => Just(Duration::ZERO),
        1 => Just(Duration::from_micros(1)),
        1 => Just(Duration::from_millis(1)),
        8 => (2_u64..80).prop_map(Duration::from_millis),
        1 => Just(Duration::from_secs(3_600)),
        1 => Just(Duration::MAX),
    ]
}

fn which() -> impl Strategy<Value = Which> {
    (prop::bool::weighted(0.3), any::<Index>()).prop_map(|(any, index)| Which { any, index })
}

/// A text that no store keeps in another way than it came.
fn error() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), Just("busy".to_owned()), Just("\u{1b}[31mé\r\n'\"\\".to_owned())]
}

fn asked() -> impl Strategy<Value = Asked> {
    let state = prop_oneof![
        Just(State::Pending),
        Just(State::Running),
        Just(State::Waiting),
        Just(State::Done),
        Just(State::Dead)
    ];
    let whose = (prop::option::weighted(0.2, 0_u8..8), prop::option::weighted(0.3, 0_u8..3));
    let which = (prop::option::of(state), whose, prop::option::weighted(0.2, pass()));
    let page = (prop::option::of(any::<Index>()), prop::option::of(any::<Index>()), any::<bool>(), 0_usize..6);
    (which, page).prop_map(|((state, (key, entity), finished), (after, before, newest_first, limit))| Asked {
        state,
        key,
        entity,
        after,
        before,
        newest_first,
        finished,
        limit,
    })
}

fn what() -> impl Strategy<Value = What> {
    let sent = (0_u8..8, prop_oneof![6 => Just(0_u8), 1 => Just(1)], prop::option::weighted(0.7, 0_u8..3));
    let sent = sent.prop_map(|(key, body, entity)| Sent { key, body, entity });
    let many = (0_u8..60, Just(0_u8), prop::option::weighted(0.3, 0_u8..20));
    let many = many.prop_map(|(key, body, entity)| Sent { key, body, entity });
    let claim = (0_usize..6, lease(), 1_u32..5);
    prop_oneof![
        8 => sent.prop_map(What::Accept),
        4 => many.prop_map(What::Accept),
        10 => claim.prop_map(|(limit, lease, max_attempts)| What::Claim { limit, lease, max_attempts }),
        5 => which().prop_map(What::Complete),
        3 => (which(), pass(), error()).prop_map(|(which, pass, error)| What::Retry { which, pass, error }),
        3 => (which(), error()).prop_map(|(which, error)| What::Dead { which, error }),
        2 => which().prop_map(What::Release),
        2 => (vec(which(), 0..4), lease()).prop_map(|(which, lease)| What::Extend { which, lease }),
        1 => which().prop_map(What::Forge),
        3 => prop::option::weighted(0.7, any::<Index>()).prop_map(What::Replay),
        2 => (0_usize..6).prop_map(What::Prune),
        1 => asked().prop_map(What::List),
        1 => Just(What::Ping),
    ]
}

pub fn step() -> impl Strategy<Value = Step> {
    (pass(), any::<bool>(), what()).prop_map(|(pass, handle, what)| Step { pass, handle, what })
}
