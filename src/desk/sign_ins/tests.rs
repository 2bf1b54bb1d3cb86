use super::*;

fn new() -> SignIns {
    SignIns::new(Clock::default(), 1)
}

fn of(email: &str) -> Account<'_> {
    Account::Email { email, tenant: None }
}

fn within<'a>(tenant: &'a str, email: &'a str) -> Account<'a> {
    Account::Email { email, tenant: Some(tenant) }
}

/// How many of so many attempts are neither refused at once nor afterwards.
fn passed(sign_ins: &SignIns, account: Account<'_>, source: &str, times: usize) -> usize {
    let tries = (0..times).map(|_| sign_ins.attempt(account, source).and_then(|attempt| attempt.judge()));
    tries.filter(Result::is_ok).count()
}

#[test]
fn an_account_is_tried_only_so_often_and_others_are_not_touched() {
    let sign_ins = new();
    assert_eq!(passed(&sign_ins, of("ada"), "192.0.2.1", 30), 10);
    assert_eq!(passed(&sign_ins, of("ada"), "192.0.2.2", 30), 10);
    assert_eq!(passed(&sign_ins, of("ada"), "192.0.2.3", 30), 3, "20 in all for one account, and 3 from each source");
    assert_eq!(passed(&sign_ins, of("bob"), "192.0.2.4", 5), 5);
    let refusal = sign_ins.attempt(of("ada"), "192.0.2.3").and_then(|attempt| attempt.judge()).unwrap_err();
    assert!(matches!(refusal, Error::Exhausted { retry_after: Some(wait), .. } if wait <= Duration::from_secs(6)));
}

#[test]
fn strangers_keep_nobody_out_who_comes_from_a_fresh_address() {
    let sign_ins = new();
    for second in 0..2000 {
        // Of six sources, each as often as it is let in and more.
        for host in 1..=6 {
            passed(&sign_ins, of("ada"), &format!("198.51.100.{host}"), 3);
        }
        if second % 100 == 0 {
            let source = format!("203.0.113.{}", second / 100);
            assert_eq!(passed(&sign_ins, of("ada"), &source, 3), 3, "after {second} s");
            assert_eq!(passed(&sign_ins, of("bob"), &source, 1), 1, "after {second} s");
        }
        if second % 60 == 0 {
            assert!(passed(&sign_ins, of("ada"), "2001:db8::1", 1) == 1, "after {second} s");
        }
        sign_ins.clock.advance(Duration::from_secs(1));
    }
}

#[test]
fn a_share_of_all_is_kept_for_those_who_have_hardly_failed() {
    let sign_ins = new();
    // Of forty sources, each trying another account each time.
    for second in 0..200 {
        for host in 1..=40 {
            let email = format!("user{second}");
            passed(&sign_ins, of(&email), &format!("198.51.100.{host}"), 2);
        }
        if second > 100 {
            let source = format!("203.0.113.{second}");
            assert_eq!(passed(&sign_ins, of("ada"), &source, 1), 1, "after {second} s");
        }
        sign_ins.clock.advance(Duration::from_secs(1));
    }
}

#[test]
fn strangers_neither_use_up_nor_take_away_what_a_known_source_has() {
    let sign_ins = new();
    let at_home = sign_ins.attempt(of("ada"), "192.0.2.1").unwrap();
    sign_ins.succeeded(&at_home);
    for host in 1..=200 {
        passed(&sign_ins, of("ada"), &format!("198.51.100.{host}"), 15);
    }
    assert_eq!(passed(&sign_ins, of("ada"), "192.0.2.1", 15), 10);
    assert_eq!(passed(&sign_ins, of("ada"), "203.0.113.1", 1), 0, "so many sources use up what is kept as well");
    sign_ins.clock.advance(Duration::from_secs(1));
    assert_eq!(passed(&sign_ins, of("ada"), "203.0.113.1", 1), 1);
}

#[test]
fn a_success_costs_nothing_and_nor_does_what_was_not_compared() {
    for end in [SignIns::succeeded, SignIns::abandoned] {
        for source in ["192.0.2.1", ""] {
            let sign_ins = new();
            for _ in 0..90 {
                let attempt = sign_ins.attempt(of("ada"), source).unwrap();
                assert!(attempt.judge().is_ok());
                end(&sign_ins, &attempt);
            }
        }
    }
    let sign_ins = new();
    passed(&sign_ins, of("ada"), "192.0.2.2", 10);
    passed(&sign_ins, of("ada"), "192.0.2.3", 10);
    for _ in 0..30 {
        sign_ins.abandoned(&sign_ins.attempt(of("ada"), "192.0.2.1").unwrap());
    }
    assert_eq!(passed(&sign_ins, of("ada"), "192.0.2.1", 20), 3, "what one source has of its own comes back as well");
    for _ in 0..10 {
        sign_ins.abandoned(&sign_ins.attempt(of("ada"), "192.0.2.2").unwrap());
    }
    assert_eq!(passed(&sign_ins, of("ada"), "192.0.2.2", 20), 0, "a refusal gives nothing back");
}

#[test]
fn an_email_is_one_account_whichever_tenant_is_named() {
    let sign_ins = new();
    let accounts = [of("ada"), within("acme", "ada"), within("other", "ada"), within("none", "ada")];
    let tried: usize = accounts.iter().map(|account| passed(&sign_ins, *account, "192.0.2.1", 6)).sum();
    assert_eq!(tried, 10);
    let tried: usize = accounts.iter().map(|account| passed(&sign_ins, *account, "192.0.2.2", 20)).sum();
    assert_eq!(tried, 10);
    // Whoever else has the email is no more kept out by that than by strangers.
    assert_eq!(passed(&sign_ins, within("other", "ada"), "192.0.2.3", 20), 3);
}

#[test]
fn a_source_is_known_for_the_account_that_signed_in_and_no_other() {
    let sign_ins = new();
    let attempt = sign_ins.attempt(within("mine", "ada"), "192.0.2.1").unwrap();
    sign_ins.succeeded(&attempt);
    for host in 2..=5 {
        passed(&sign_ins, of("ada"), &format!("192.0.2.{host}"), 15);
    }
    for account in [of("ada"), within("acme", "ada")] {
        passed(&sign_ins, account, "192.0.2.1", 3);
        assert_eq!(passed(&sign_ins, account, "192.0.2.1", 1), 0, "it is known in another tenant only");
    }
    assert_eq!(passed(&sign_ins, within("mine", "ada"), "192.0.2.1", 1), 1);
}

#[test]
fn nobody_can_type_the_account_of_a_user() {
    let sign_ins = new();
    let name = "tenants/acme/users/ada";
    for source in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        passed(&sign_ins, of(name), source, 15);
        passed(&sign_ins, within("", name), source, 15);
    }
    assert_eq!(passed(&sign_ins, Account::User(name), "192.0.2.1", 15), 10);
    assert_eq!(passed(&sign_ins, Account::User(name), "", 15), 10);
}

#[test]
fn on_a_unix_socket_only_the_account_and_all_count() {
    let sign_ins = new();
    assert_eq!(passed(&sign_ins, of("ada"), "", 30), 20);
    let users = (0..200).map(|number| format!("user{number}"));
    let tried: usize = users.map(|user| passed(&sign_ins, of(&user), "", 1)).sum();
    assert!((120..=125).contains(&tried), "{tried}: all have 150, and more than one source has");
    sign_ins.clock.advance(Duration::from_secs(6));
    assert_eq!(passed(&sign_ins, of("ada"), "", 2), 1);
}

#[test]
fn a_flood_is_refused_at_once_from_one_source_and_in_all() {
    let sign_ins = new();
    let at_once =
        |source: &str, account: &str| matches!(sign_ins.attempt(of(account), source), Err(Error::Exhausted { .. }));
    let refused = (0..200).filter(|number| at_once("192.0.2.1", &format!("user{number}"))).count();
    assert!((95..=100).contains(&refused), "{refused}");
    let refused = (0..1000).filter(|number| at_once(&format!("2001:db8:0:{number:x}::1"), "ada")).count();
    assert!((850..=900).contains(&refused), "{refused}");
    sign_ins.clock.advance(Duration::from_secs(1));
    assert!(!at_once("192.0.2.1", "bob"));
}

#[test]
fn memory_is_bounded() {
    let sign_ins = new();
    for number in 0..300_000_u32 {
        sign_ins.clock.advance(Duration::from_millis(70));
        let source = format!("10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255);
        if let Ok(attempt) = sign_ins.attempt(of(&format!("user{number}")), &source) {
            sign_ins.succeeded(&attempt);
        }
    }
    let counts = sign_ins.counts.lock();
    assert!(counts.known.len() <= CAPACITY);
    assert!(counts.known.len() > CAPACITY / 2);
}
