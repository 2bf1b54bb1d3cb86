//! Whether the audit log in a database is what was written, and what retention leaves of it, on each engine.

use super::ledger::{make, open};
use super::{On, on_every_engine};
use keyward::clock::Clock;
use keyward::desk::events::expire;
use keyward::domain::change::Head;
use keyward::domain::clock::Time;
use keyward::store::{Audit, Audited, Fault, Store};
use std::time::Duration;

on_every_engine! {
    an_audit_finds_whatever_was_changed,
    retention_removes_what_is_old_and_proves_the_rest,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

async fn audit(url: &str, anchor: Option<&Head>) -> (Vec<Fault>, Audited) {
    let audit = Audit::open(url).await.unwrap();
    let mut faults = Vec::new();
    let audited = audit.run(anchor, &mut |fault| faults.push(fault)).await.unwrap();
    audit.close().await.unwrap();
    (faults, audited)
}

async fn an_audit_finds_whatever_was_changed(on: On) {
    use Fault::{Beyond, Changes, CutOff, Edited, Head as WrongHead, Missing, Rewritten};
    let fresh = on.fresh().await;
    let store = open(&fresh).await;
    let now = Clock::default().now();
    for number in 0..30 {
        make(&store, &format!("t{number}"), "", now).await;
    }
    // Beside whoever has it open.
    let (faults, whole) = audit(&fresh.url, None).await;
    assert_eq!((faults, whole.events, whole.compared, whole.end.revision), (vec![], 30, 30, 30));
    assert_eq!((whole.start.revision, whole.is_anchored), (0, None));
    let head = whole.end.clone();
    store.close().await.unwrap();
    for copy in [
        "CREATE TABLE kept_event AS SELECT * FROM audit_event",
        "CREATE TABLE kept_change AS SELECT * FROM ledger_change",
        "CREATE TABLE kept_head AS SELECT * FROM ledger_head",
    ] {
        fresh.execute(copy).await;
    }
    let edits = [
        "UPDATE audit_event SET kind = 'tenant.delete' WHERE revision = 7",
        "UPDATE audit_event SET tenant_id = 't1' WHERE revision = 7",
        "UPDATE audit_event SET tenant_id = '' WHERE revision = 7",
        "UPDATE audit_event SET actor = 'nobody' WHERE revision = 7",
        "UPDATE audit_event SET credential_id = 'x' WHERE revision = 7",
        "UPDATE audit_event SET subject = 'tenants/other' WHERE revision = 7",
        "UPDATE audit_event SET time = time + 1 WHERE revision = 7",
        "UPDATE audit_event SET request_id = 'x' WHERE revision = 7",
        "UPDATE audit_event SET source_ip = '192.0.2.1' WHERE revision = 7",
        "UPDATE audit_event SET detail = '{\"after\":{}}' WHERE revision = 7",
    ];
    let mut cases: Vec<(&[&'static str], Vec<Fault>)> =
        edits.iter().map(|edit| (std::slice::from_ref(edit), vec![Edited(7)])).collect();
    let set_back = "UPDATE ledger_head SET rev = 29, chain = (SELECT chain FROM audit_event WHERE revision = 29)";
    let more: [(&[&'static str], Vec<Fault>); 14] = [
        (&["UPDATE audit_event SET chain = changes_hash WHERE revision = 7"], vec![Edited(7), Edited(8)]),
        (&["UPDATE audit_event SET changes_hash = chain WHERE revision = 7"], vec![Edited(7), Changes(7)]),
        (&["DELETE FROM audit_event WHERE revision = 1"], vec![Missing { first: 1, last: 1 }]),
        (&["DELETE FROM audit_event WHERE revision = 7"], vec![Missing { first: 7, last: 7 }]),
        (&["DELETE FROM audit_event WHERE revision BETWEEN 7 AND 9"], vec![Missing { first: 7, last: 9 }]),
        (&["DELETE FROM audit_event WHERE revision > 27"], vec![Missing { first: 28, last: 30 }]),
        (&["DELETE FROM audit_event"], vec![Missing { first: 1, last: 30 }]),
        (
            &["UPDATE audit_event SET revision = 31 WHERE revision = 7"],
            vec![Beyond { head: 30, last: 31 }, Missing { first: 7, last: 7 }],
        ),
        (&["UPDATE ledger_change SET payload = REPLACE(payload, 'false', 'true') WHERE rev = 7"], vec![Changes(7)]),
        (&["DELETE FROM ledger_change WHERE rev = 7"], vec![Changes(7)]),
        (&["UPDATE ledger_change SET rev = 8, seq = 1 WHERE rev = 7"], vec![Changes(7), Changes(8)]),
        (&[set_back], vec![Beyond { head: 29, last: 30 }]),
        (&["UPDATE ledger_head SET chain = (SELECT chain FROM audit_event WHERE revision = 29)"], vec![WrongHead(30)]),
        // What the log has not got any more cannot be compared.
        (&["UPDATE ledger_head SET floor_rev = 10", "DELETE FROM ledger_change WHERE rev <= 10"], vec![]),
    ];
    cases.extend(more);
    for (tampering, expected) in cases {
        for statement in tampering {
            fresh.execute(statement).await;
        }
        assert_eq!(audit(&fresh.url, None).await.0, expected, "{tampering:?}");
        for statement in [
            "DELETE FROM audit_event",
            "INSERT INTO audit_event SELECT * FROM kept_event",
            "DELETE FROM ledger_change",
            "INSERT INTO ledger_change SELECT * FROM kept_change",
            "DELETE FROM ledger_head",
            "INSERT INTO ledger_head SELECT * FROM kept_head",
        ] {
            fresh.execute(statement).await;
        }
    }
    if on == On::Sqlite {
        fresh.execute("UPDATE audit_event SET time = 'noon' WHERE revision = 7").await;
        assert_eq!(audit(&fresh.url, None).await.0, [Edited(7)]);
        fresh.execute("UPDATE audit_event SET time = (SELECT time FROM kept_event WHERE kept_event.revision = 7) WHERE revision = 7").await;
    }

    let (faults, whole) = audit(&fresh.url, Some(&head)).await;
    assert_eq!((faults, whole.is_anchored), (vec![], Some(true)));
    let other = Head { revision: 20, chain: head.chain.clone() };
    assert_eq!(audit(&fresh.url, Some(&other)).await.0, [Rewritten(20)]);
    // Cut off together with the head: only the exported one tells.
    for statement in
        ["DELETE FROM audit_event WHERE revision = 30", "DELETE FROM ledger_change WHERE rev = 30", set_back]
    {
        fresh.execute(statement).await;
    }
    assert_eq!(audit(&fresh.url, None).await.0, []);
    assert_eq!(audit(&fresh.url, Some(&head)).await.0, [CutOff { last: 29, exported: 30 }]);
}

async fn delete_expired(store: &Store) {
    while store.delete_expired_events().await.unwrap() {}
}

async fn retention_removes_what_is_old_and_proves_the_rest(on: On) {
    let fresh = on.fresh().await;
    let clock = Clock::default();
    let store = Store::open(&fresh.url, clock.clone()).await.unwrap();
    for number in 0..30 {
        make(&store, &format!("a{number}"), "", clock.now()).await;
    }
    let early = audit(&fresh.url, None).await.1.end;
    assert_eq!(expire(&store, clock.now(), DAY).await.unwrap(), None);
    clock.advance(10 * DAY);
    for number in 0..10 {
        make(&store, &format!("b{number}"), "", clock.now()).await;
    }
    assert_eq!(expire(&store, clock.now(), 11 * DAY).await.unwrap(), None);
    // One from a clock that was ahead, or those after it from one that was behind: what is young stays, and what follows.
    let cutoff = Time::from_micros(clock.now().micros() - i64::try_from((5 * DAY).as_micros()).unwrap());
    let last = async || store.last_event_before(cutoff).await.unwrap().map(|head| head.revision);
    assert_eq!(last().await, Some(29));
    fresh.execute("UPDATE audit_event SET time = time + 864000000000 WHERE revision = 12").await;
    assert_eq!(last().await, Some(10));
    fresh.execute("UPDATE audit_event SET time = time - 864000000000 WHERE revision = 12").await;
    // All at once, as servers do: one of them says it.
    let (now, retention) = (clock.now(), 5 * DAY);
    let (one, other) = tokio::join!(expire(&store, now, retention), expire(&store, now, retention));
    let mut said = [one.unwrap(), other.unwrap()];
    said.sort_unstable();
    assert_eq!(said, [None, Some(29)]);
    // Said, and not yet done.
    let (faults, audited) = audit(&fresh.url, Some(&early)).await;
    assert_eq!((faults, audited.start.revision, audited.events), (vec![], 29, 12));
    assert_eq!(audited.is_anchored, Some(true));
    delete_expired(&store).await;
    let left = store.events_between(None, 0, i64::MAX, 100).await.unwrap();
    assert_eq!(left.iter().map(|event| event.revision).collect::<Vec<_>>(), (30..=41).collect::<Vec<_>>());
    assert_eq!((left[11].kind.as_str(), left[11].actor.as_str()), ("event.expire", "server"));
    assert_eq!(audit(&fresh.url, None).await, ([].into(), Audited { is_anchored: None, ..audited.clone() }));
    let long_gone = Head { revision: 5, chain: early.chain };
    assert_eq!(audit(&fresh.url, Some(&long_gone)).await.1.is_anchored, Some(false));
    assert_eq!(expire(&store, clock.now(), retention).await.unwrap(), None);
    assert_eq!(store.verify(i64::MAX, 1_000_000).await.unwrap(), audited.end);

    // Again, from where it left off; the event that told of the first time is gone with the others in the end.
    clock.advance(10 * DAY);
    for number in 0..2 {
        make(&store, &format!("c{number}"), "", clock.now()).await;
    }
    assert_eq!(expire(&store, clock.now(), retention).await.unwrap(), Some(40));
    delete_expired(&store).await;
    let (faults, audited) = audit(&fresh.url, None).await;
    assert_eq!((faults, audited.start.revision, audited.events), (vec![], 40, 4));
    assert_eq!(store.verify(i64::MAX, 1_000_000).await.unwrap(), audited.end);
    store.close().await.unwrap();

    fresh.execute("UPDATE audit_event SET detail = '{}' WHERE revision = 44").await;
    assert_eq!(audit(&fresh.url, None).await.0, [Fault::Edited(44), Fault::Unexplained(40)]);
    fresh.execute("DELETE FROM setting WHERE name = 'event_checkpoint'").await;
    assert_eq!(audit(&fresh.url, None).await.0, [Fault::Missing { first: 1, last: 40 }, Fault::Edited(44)]);
}
