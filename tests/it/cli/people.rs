//! Every command of applications, tokens, sessions and passwords with every flag, as part of the walk.

use super::terminal::{Line, Terminal, id_of, text};
use std::time::{Duration, Instant};

pub fn walk_passwords(t: &Terminal) {
    let first = t.file("first.txt", "correct horse battery\n").display().to_string();
    let second = t.file("second.txt", "staple, twice as long\r\n").display().to_string();
    t.as_owner("users create dora --email dora@acme.example --password-file").word(&first).ok();
    let is_in = |password: &str| {
        let line = t.line("sessions create --user dora@acme.example --tenant acme");
        line.variable("KEYWARD_PASSWORD", password).run().code == 0
    };
    assert!(is_in("correct horse battery"));
    let etag = text(&t.as_owner("users get dora").json()["user"]["etag"]);
    let line = t.as_owner("users passwd dora --etag").word(etag).word("--password-file").word(&second);
    line.word("--current-password-file").word(&first).ok().says("dora@acme.example");
    assert!(!is_in("correct horse battery") && is_in("staple, twice as long"));
    t.as_owner("users passwd dora").variable("KEYWARD_NEW_PASSWORD", "correct horse battery").ok();
    assert!(is_in("correct horse battery"));

    t.as_owner("users passwd dora").variable("KEYWARD_NEW_PASSWORD", "short").exits(1).says("\n  password: ");
    t.as_owner("users passwd dora").variable("KEYWARD_NEW_PASSWORD", "").exits(2).says("the new password is empty");
    t.as_owner("users passwd dora").exits(2).says("no terminal to ask for the password: give --password-file PATH");
    t.as_owner("users create eve --password-file -").exits(2).says("the new password is empty");

    let owned = "tenants create fern --owner-email fern@fern.example --owner-password-file";
    t.as_root(owned).word(&first).ok();
    let line = t.line("sessions create --user fern@fern.example --user-password-file").word(&first);
    assert_eq!(line.json()["session"]["user"].as_str().map(|user| user.starts_with("tenants/fern/users/")), Some(true));
    t.as_root("tenants delete fern").ok();
}

pub fn walk_sessions(t: &Terminal) {
    let sign_in = || {
        let line = t.line("sessions create --user dora@acme.example --tenant acme");
        line.variable("KEYWARD_PASSWORD", "correct horse battery")
    };
    let made = sign_in().json();
    assert_eq!(made["session"]["user"], "tenants/acme/users/dora");
    let session = text(&made["sessionToken"]);
    sign_in().ok().says("session token (shown once): kw_");
    let ids = |line: Line<'_>| -> Vec<String> {
        line.json()["sessions"].as_array().unwrap().iter().map(|session| id_of(&session["name"])).collect()
    };
    let all = ids(t.as_owner("sessions list --owner dora --page-size 1"));
    assert!(all.contains(&id_of(&made["session"]["name"])) && all.len() >= 2, "{all:?}");
    assert_eq!(ids(t.as_owner("sessions list --limit 1")).len(), 1);
    assert_eq!(ids(t.as_owner("sessions list --filter").word("create_time < \"2000-01-01T00:00:00Z\"")).len(), 0);
    t.as_owner("sessions list").ok().says("users/dora");

    // As good as a key, until it is signed out: by itself, or by its text.
    t.line("keys list").variable("KEYWARD_KEY", &session).ok();
    t.line("sessions revoke").variable("KEYWARD_KEY", &session).ok();
    t.line("keys list").variable("KEYWARD_KEY", &session).exits(1).says("UNAUTHENTICATED");
    let other = text(&sign_in().json()["sessionToken"]);
    let path = t.file("session.txt", &other).display().to_string();
    t.as_owner("sessions revoke --token-file").word(path).ok();
    t.line("check --credential-file -").stdin(&other).exits(1);
    t.line("sessions revoke").exits(2).says("which session?");

    // For one command.
    let before = ids(t.as_owner("sessions list"));
    let line = t.line("keys create by-dora --user dora@acme.example --user-password-file -");
    let made = line.stdin("correct horse battery\n").json();
    assert_eq!(made["key"]["owner"], "tenants/acme/users/dora");
    assert_eq!(ids(t.as_owner("sessions list")), before, "signed out again");
    let line = t.as_owner("keys get by-dora --user dora@acme.example");
    line.ok().says("--user is left aside, since a key is given");
    let wrong = t.line("keys list --user dora@acme.example").variable("KEYWARD_PASSWORD", "wrong wrong wrong");
    let wrong = wrong.exits(1);
    wrong.says("UNAUTHENTICATED");
    assert!(!wrong.err.contains("no key was given"), "{wrong:?}");
    t.line("keys list --user dora@acme.example").exits(2).says("give --user-password-file PATH or KEYWARD_PASSWORD");
    t.line("sessions create").exits(2).says("give --user EMAIL");

    // Changing the own password ends the session that changes it, and that is no failure.
    let line = t.line("users passwd dora --user dora@acme.example --password-file -");
    let line = line.variable("KEYWARD_PASSWORD", "correct horse battery").stdin("another password\n");
    assert_eq!(line.ok().err, "");
    assert_eq!(ids(t.as_owner("sessions list --owner dora")).len(), 0);
}

/// The token in the newest of `count` mails to that address.
fn mailed_token(t: &Terminal, recipient: &str, count: usize) -> String {
    let folder = t.dir.path().join("keyward-mail");
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        let mut paths: Vec<_> = entries.filter(|path| path.extension().is_some_and(|end| end == "eml")).collect();
        paths.sort_by_key(|path| path.metadata().unwrap().modified().unwrap());
        let mails = paths.iter().map(|path| std::fs::read_to_string(path).unwrap());
        let mails: Vec<String> = mails.filter(|mail| mail.contains(&format!("To: {recipient}"))).collect();
        if mails.len() >= count {
            let (_, body) = mails[count - 1].split_once("\r\n\r\n").unwrap();
            let is_token = |line: &&str| line.len() >= 32 && !line.contains([' ', '/']);
            return body.lines().find(is_token).unwrap().to_owned();
        }
        assert!(Instant::now() < deadline, "{} of {count} mails to {recipient} came", mails.len());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// An application with everything, verified: its secret.
pub fn walk_applications(t: &Terminal) -> String {
    let line = "apps create atlas --owner dora --display-name Atlas --contact-email dev@acme.example --grant doc/*=read \
                --grant-api maps --grant-table public.roads=select --grant-schema public --grant-dataservice geocoding \
                --request-id 3d6b8a50-7a0d-4c3e-8f35-0d6f1f0a7b21";
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let create = || t.as_owner(&line).word("--description").word("Maps of roads");
    let made = create().json();
    assert_eq!(made["application"]["owner"], "tenants/acme/users/dora");
    assert_eq!(made["application"]["grants"].as_array().unwrap().len(), 4);
    assert_eq!(create().json()["revision"], made["revision"], "the same request id");
    t.as_owner("apps create globe").ok().says("verified").says("no");

    let first = mailed_token(t, "dev@acme.example", 1);
    let etag = || text(&t.as_owner("apps get atlas").json()["application"]["etag"]);
    // Not another mail so soon; who may have it, and when, is tested where a clock can be moved.
    t.as_owner("apps resend atlas --etag").word(etag()).exits(1).says("RESOURCE_EXHAUSTED");
    let verify = |token: &str| {
        t.line("apps verify atlas --tenant acme --etag").word(etag()).word("--token-file").word("-").stdin(token)
    };
    let refused = verify("another").exits(1);
    refused.says("UNAUTHENTICATED");
    assert!(!refused.err.contains("no key was given"), "{refused:?}");
    t.as_owner("apps verify atlas --token-file -").stdin(&first).exits(2).says("say which tenant");
    t.line("apps verify atlas --tenant acme").exits(2).says("no token");
    let verified = verify(&format!("{first}\n")).json();
    assert_eq!(verified["application"]["isVerified"], true);
    t.as_owner("apps get atlas --etag").word(etag()).ok().says("doc/*: read").says("table public.roads: select");

    let ids = |line: Line<'_>| -> Vec<String> {
        line.json()["applications"].as_array().unwrap().iter().map(|application| id_of(&application["name"])).collect()
    };
    assert_eq!(ids(t.as_owner("apps list --page-size 1")), ["atlas", "globe"]);
    assert_eq!(ids(t.as_owner("apps list --limit 1")), ["atlas"]);
    assert_eq!(ids(t.as_owner("apps list --owner dora")), ["atlas"]);
    assert_eq!(ids(t.as_owner("apps list --filter").word("is_verified = false")), ["globe"]);
    t.as_owner("apps list").ok().says("VERIFIED").says("Maps of roads").says("users/dora");

    let line = "apps update globe --display-name Globe --description= --contact-email ana@acme.example --grant doc/1=read \
                --grant-api sql --grant-table public.tolls=insert --grant-schema x=create --grant-dataservice routing --etag";
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let etag_of_globe = text(&t.as_owner("apps get globe").json()["application"]["etag"]);
    assert_eq!(t.as_owner(&line).word(etag_of_globe).json()["application"]["grants"].as_array().unwrap().len(), 4);
    let cleared = t.as_owner("apps update globe --clear-grants").json();
    assert!(cleared["application"].get("grants").is_none(), "{cleared}");
    t.as_owner("apps update globe").exits(2).says("nothing to change");

    let rotated = t.as_owner("apps rotate atlas --overlap 1h --etag").word(etag());
    let rotated = rotated.word("--request-id").word("7a3c5e71-6f0d-4f6e-9a3f-55e0b1a9c402").json();
    t.as_owner("apps rotate globe").exits(1).says("FAILED_PRECONDITION");
    t.as_owner("apps revoke atlas --etag").word(etag()).ok();
    assert_eq!(t.as_owner("apps get atlas").json()["application"]["isRevoked"], true);
    t.as_owner("apps activate atlas --etag").word(etag()).ok();
    let etag_of_globe = text(&t.as_owner("apps get globe").json()["application"]["etag"]);
    t.as_owner("apps delete globe --etag").word(etag_of_globe).ok().says("deleted");
    assert_eq!(ids(t.as_owner("apps list")), ["atlas"]);
    assert_eq!(ids(t.as_owner("apps list --show-deleted")), ["atlas", "globe"]);
    text(&rotated["secret"])
}

pub fn walk_tokens(t: &Terminal, secret: &str) {
    let path = t.file("atlas.secret", &format!("{secret}\n")).display().to_string();
    let line = "tokens create --application atlas --tenant acme --ttl 10m --resource doc/1 --action read --secret-file";
    let of_application = text(&t.line(line).word(path).json()["token"]);
    let read = |token: &str| t.line("check --resource doc/1 --action read --credential-file -").stdin(token);
    read(&of_application).ok().says("applications/atlas");
    t.line("check --resource apis/maps --action use --credential-file -").stdin(&of_application).exits(1);
    let line = t.line("tokens create --application tenants/acme/applications/atlas");
    line.variable("KEYWARD_APPLICATION_SECRET", secret).ok().says("token (shown once): ");
    let refused = t.line("tokens create --application nothing --tenant acme");
    refused.variable("KEYWARD_APPLICATION_SECRET", secret).exits(1).says("UNAUTHENTICATED");
    t.line("tokens create --application atlas --tenant acme").exits(2).says("no secret");
    t.line("tokens create --application atlas --secret-file -").stdin(secret).exits(2).says("say which tenant");

    // Of a key with a second secret, and of the caller's own.
    let key = t.key("parent");
    let second = text(&t.as_owner("keys generate-secret-key parent").json()["secretKey"]);
    let second = t.file("parent.second", &second).display().to_string();
    let line =
        t.line("tokens create --audience tiles --audience maps --credential-file - --credential-secret-key-file");
    let made = line.word(&second).stdin(&key).json();
    assert_eq!(made["accessToken"]["audience"].as_array().unwrap().len(), 2);
    let of_key = text(&made["token"]);
    read(&of_key).exits(1).says("TOKEN_AUDIENCE_MISMATCH");
    read(&of_key).word("--audience").word("maps").ok().says("keys/parent");
    t.line("tokens create --credential-file -").stdin(&key).exits(1);
    t.as_owner("tokens create --ttl 1m").ok().says("token (shown once): ");
    t.line("tokens create").exits(2).says("nothing to make it of");

    let jwt = text(&t.as_owner("tokens create --format jwt").json()["token"]);
    assert_eq!(jwt.split('.').count(), 3, "{jwt}");
    let jwks = t.line("tokens jwks").json();
    assert_eq!(jwks["keys"][0]["kty"], "OKP");
    t.line("tokens jwks").ok().says("Ed25519").says("EdDSA");

    let path = t.file("token.txt", &of_application).display().to_string();
    let told = t.as_owner("tokens introspect --token-file").word(&path).json();
    assert_eq!(
        (&told["active"], &told["principal"]["application"]),
        (&true.into(), &"tenants/acme/applications/atlas".into())
    );
    t.as_owner("tokens introspect").variable("KEYWARD_TOKEN", &of_application).ok().says("active").says("yes");
    t.as_owner("tokens revoke --token-file").word(&path).ok();
    read(&of_application).exits(1);
    t.as_owner("tokens introspect --token-file").word(&path).ok().says("no");
    t.as_owner("tokens revoke").variable("KEYWARD_TOKEN", "kw_unknown").ok();
    t.as_owner("tokens revoke").exits(2).says("no token");
}

pub fn walk_pattern(t: &Terminal) {
    let told = t.line("keys pattern --prefix kw,bo").json();
    assert!(text(&told["regex"]).starts_with("(?:kw|bo)_["), "{told}");
    assert_eq!(told["checksum"]["chars"], 6);
    t.line("keys pattern").ok().says("[a-z][a-z0-9]{0,15}_").says("CRC-32");
    t.line("keys pattern --prefix Kw").exits(2).says("must be 1 to 16 lower-case letters");
}
