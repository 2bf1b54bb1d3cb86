use super::*;
use crate::config::{Config, ServeArgs};
use crate::telemetry::Telemetry;
use tonic_types::StatusExt as _;

fn load(limits: Limits) -> (Telemetry, Arc<Load>) {
    let telemetry = Telemetry::start(&Config::load(ServeArgs::default()).unwrap()).unwrap();
    let load = Load::new(Listener::Data, &limits, telemetry.instruments().shed.clone());
    (telemetry, load)
}

fn shed(telemetry: &Telemetry, reason: &str) -> u64 {
    let text = telemetry.metrics().text().unwrap();
    let begin = format!("keyward_calls_shed_total{{listener=\"data\",reason=\"{reason}\"}} ");
    let line = text.lines().find(|line| line.starts_with(&begin)).unwrap_or_else(|| panic!("{begin}: {text}"));
    line.strip_prefix(begin.as_str()).unwrap().parse().unwrap()
}

#[test]
fn more_than_may_wait_are_told_to_come_again_at_different_times() {
    let (telemetry, load) = load(Limits { max_queued_calls: 2, ..Limits::default() });
    assert_eq!(shed(&telemetry, "queue"), 0);
    let waiting = [load.queue().unwrap(), load.queue().unwrap()];
    let mut delays = Vec::new();
    for _ in 0..REPLIES {
        let headers = load.queue().unwrap_err();
        let status = Status::from_header_map(&headers).unwrap();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        let details = status.get_error_details();
        assert_eq!(details.error_info().unwrap().reason, "LIMIT_REACHED");
        delays.push(details.retry_info().unwrap().retry_delay.unwrap());
    }
    assert!(delays.iter().all(|delay| (SOONEST..LATEST).contains(delay)), "{delays:?}");
    delays.sort();
    delays.dedup();
    assert_eq!(delays.len(), REPLIES as usize);
    assert_eq!(shed(&telemetry, "queue"), u64::from(REPLIES));
    // Another thread has a queue of its own, and a place is given back whatever becomes of the call.
    assert!(load.of_another().queue().is_ok());
    let [begun, dropped] = waiting;
    assert!(matches!(begun.begin(Some(Instant::now()), None), Turn::Begin));
    drop(dropped);
    assert_eq!(load.queued.load(Ordering::Relaxed), 0);
}

#[test]
fn whoever_has_waited_for_too_long_in_a_crowd_is_turned_away() {
    let (telemetry, load) = load(Limits { max_queue_time: Duration::ZERO, ..Limits::default() });
    let mut waiting: Vec<Queued> = (0..=CROWD).map(|_| load.queue().unwrap()).collect();
    let long_ago = Instant::now().checked_sub(Duration::from_millis(1));
    let in_crowd = waiting.pop().unwrap();
    assert!(matches!(in_crowd.begin(long_ago, None), Turn::Refuse(_)));
    assert_eq!(shed(&telemetry, "late"), 1);
    // One who waits no more is told that it is too late, by the code of its deadline.
    let again = load.queue().unwrap();
    assert!(again.is_crowded);
    assert!(matches!(again.begin(long_ago, long_ago), Turn::Late));
    for alone in waiting {
        assert!(matches!(alone.begin(long_ago, None), Turn::Begin));
    }
    assert_eq!((shed(&telemetry, "late"), load.queued.load(Ordering::Relaxed)), (1, 0));
}

#[test]
fn streams_reflection_and_administration_are_counted_apart() {
    let limits = Limits { max_streams: 1, max_reflections: 1, admin_max_in_flight: 1, ..Limits::default() };
    let (telemetry, load) = load(limits);
    // They are the listener's, on whichever thread.
    let other = load.of_another();
    let strangers = load.reflect().unwrap();
    let refusal = Status::from_header_map(&other.reflect().unwrap_err()).unwrap();
    assert_eq!(refusal.code(), tonic::Code::ResourceExhausted);
    let seat = load.open().unwrap();
    assert!(matches!(other.open(), Err(Error::Exhausted { retry_after: Some(_), .. })));
    drop(seat);
    assert!(other.open().is_ok());
    let seat = load.begin().unwrap();
    assert!(matches!(other.begin(), Err(Error::Exhausted { retry_after: Some(_), .. })));
    let _stream = load.open().unwrap();
    drop((seat, strangers));
    assert!(other.begin().is_ok() && other.reflect().is_ok());
    assert_eq!(["streams", "reflections", "in_flight"].map(|reason| shed(&telemetry, reason)), [1, 1, 1]);
}
