//! Which entries are listed, and in which order.

use std::sync::Arc;

use super::case::{Case, TICK, incoming};
use crate::dedupe::Settled;
use crate::ids::{DeliveryId, EventType, Source, TenantId};
use crate::inbox::{Accepted, InboxStore, Incoming, Query, State};

/// Page by page downwards as well.
pub async fn entries_are_listed_from_the_newest_on<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    for id in ["msg_1", "msg_2", "msg_3", "msg_4"] {
        case.keep(id).await;
    }
    let numbers = async |query| case.list(query).await.iter().map(|entry| entry.number).collect::<Vec<_>>();
    let upwards = numbers(Query::all()).await;
    let downwards: Vec<i64> = upwards.iter().rev().copied().collect();
    assert_eq!(numbers(Query::all().newest_first()).await, downwards);
    assert_eq!(numbers(Query::all().newest_first().limit(3)).await, downwards[..3]);
    assert_eq!(numbers(Query::all().before(downwards[2])).await, downwards[3..]);
    assert_eq!(numbers(Query::all().before(downwards[0]).after(downwards[3])).await, downwards[1..3]);
    assert_eq!(numbers(Query::of(State::Pending).newest_first().limit(1)).await, downwards[..1]);
}

/// Each by itself, and all of them together.
pub async fn entries_are_listed_by_sender_type_id_and_end<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    let sender = |name| Source::new(name).expect("a source");
    let first = case.keep("msg_1").await.delivery;
    let lease = case.claim_one(case.start).await.lease;
    assert_eq!(case.complete(&lease, case.start).await, Settled::Current);
    case.keep("msg_2").await;
    let lease = case.claim_one(case.start).await.lease;
    assert_eq!(case.dead(&lease, case.after(TICK)).await, Settled::Current);
    let mut bare = incoming("msg_3", case.start);
    bare.delivery.event_type = None;
    bare.delivery.id = None;
    assert_eq!(case.accept(&bare, case.start).await, Accepted::New);
    let mut other = incoming("msg_4", case.start);
    other.delivery.source = sender("another");
    other.delivery.event_type = Some(EventType::from_static("another.type"));
    assert_eq!(case.accept(&other, case.start).await, Accepted::New);

    let id = |text: &str| DeliveryId::new(text).expect("an id");
    let all: Vec<i64> = case.list(Query::all()).await.iter().map(|entry| entry.number).collect();
    let found = async |query| {
        let entries = case.list(query).await;
        let at = |number| all.iter().position(|known| *known == number).map_or(0, |at| at + 1);
        entries.iter().map(|entry| at(entry.number)).collect::<Vec<_>>()
    };
    assert_eq!(found(Query::all().source(first.source.clone())).await, [1, 2, 3]);
    assert_eq!(found(Query::all().source(sender("another"))).await, [4]);
    assert_eq!(found(Query::all().source(sender("nobody"))).await, [0; 0]);
    assert_eq!(found(Query::all().event_type(EventType::from_static("another.type"))).await, [4]);
    assert_eq!(found(Query::all().delivery_id(id("msg_2"))).await, [2]);
    assert_eq!(found(Query::all().delivery_id(id("msg_3"))).await, [0; 0], "its id was not kept");
    assert_eq!(found(Query::all().finished_until(case.start)).await, [1]);
    assert_eq!(found(Query::all().finished_until(case.after(TICK))).await, [1, 2]);
    assert_eq!(found(Query::of(State::Dead).finished_until(case.after(TICK)).newest_first()).await, [2]);
    let kind = first.event_type.clone().expect("a type");
    let narrow = Query::of(State::Done).source(first.source).event_type(kind).delivery_id(id("msg_1"));
    assert_eq!(found(narrow.clone().finished_until(case.start)).await, [1]);
    assert_eq!(found(Query { state: Some(State::Dead), ..narrow }).await, [0; 0]);
}

/// Whoever holds an entity up is the first of it that is neither done nor dead.
pub async fn entries_are_listed_by_entity_and_tenant<S: InboxStore>(store: Arc<S>) {
    let case = Case::new(store);
    let tenant = |name| TenantId::new(name).expect("a tenant");
    // As an inbox calls them; the last is another one, by case.
    let of_entities =
        [Some("conformance acme ent_7"), None, Some("conformance acme ent_7"), Some("conformance ACME ent_7")];
    for (at, entity) in of_entities.into_iter().enumerate() {
        let mut one = Incoming { entity: entity.map(str::to_owned), ..incoming(&format!("msg_{at}"), case.start) };
        one.delivery.tenant = [Some(tenant("acme")), None, Some(tenant("acme")), Some(tenant("ACME"))][at].clone();
        assert_eq!(case.accept(&one, case.start).await, Accepted::New);
    }
    let all: Vec<i64> = case.list(Query::all()).await.iter().map(|entry| entry.number).collect();
    let found = async |query| {
        let entries = case.list(query).await;
        let at = |number| all.iter().position(|known| *known == number).map_or(0, |at| at + 1);
        entries.iter().map(|entry| at(entry.number)).collect::<Vec<_>>()
    };
    let busy = "conformance acme ent_7";
    assert_eq!(found(Query::all().entity(busy)).await, [1, 3]);
    assert_eq!(found(Query::all().entity(busy).newest_first()).await, [3, 1]);
    assert_eq!(found(Query::all().entity(busy).limit(1)).await, [1]);
    assert_eq!(found(Query::of(State::Pending).entity(busy)).await, [1], "it is what the other waits for");
    assert_eq!(found(Query::of(State::Waiting).entity(busy)).await, [3]);
    assert_eq!(found(Query::all().entity("conformance ACME ent_7")).await, [4]);
    for none in ["", "ent_7", "nobody's"] {
        assert_eq!(found(Query::all().entity(none)).await, [0; 0], "{none:?}");
    }
    assert_eq!(found(Query::all().tenant(tenant("acme"))).await, [1, 3]);
    assert_eq!(found(Query::all().tenant(tenant("ACME"))).await, [4]);
    assert_eq!(found(Query::all().tenant(tenant("nobody"))).await, [0; 0]);
    assert_eq!(found(Query::of(State::Waiting).tenant(tenant("acme")).entity(busy)).await, [3]);
    assert_eq!(found(Query::all().tenant(tenant("ACME")).entity(busy)).await, [0; 0]);

    // Of what is running and what has ended as well.
    let leased = case.claim_all(case.start).await;
    let lease = leased.iter().find(|leased| leased.lease.number == all[0]).expect("the first").lease;
    assert_eq!(found(Query::of(State::Running).entity(busy)).await, [1]);
    assert_eq!(case.dead(&lease, case.after(TICK)).await, Settled::Current);
    assert_eq!(found(Query::of(State::Dead).entity(busy)).await, [1]);
    assert_eq!(found(Query::of(State::Pending).entity(busy)).await, [3]);
    assert_eq!(found(Query::all().entity(busy)).await, [1, 3]);
}
