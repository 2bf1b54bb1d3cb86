//! Every command with every flag, at least once: the help says which there are.

use super::people::{walk_applications, walk_passwords, walk_pattern, walk_sessions, walk_tokens};
use super::terminal::{Line, Terminal, id_of, text};
use std::collections::BTreeSet;

const UUID: &str = "6f1c2f0e-3b9d-4c6e-9b1a-7f0d5a4e2c11";

#[test]
fn every_command_does_its_work_with_every_flag() {
    let terminal = Terminal::new();
    let t = &terminal;
    walk_tenants(t);
    walk_users(t);
    walk_keys(t);
    walk_secrets(t);
    walk_pattern(t);
    walk_passwords(t);
    walk_sessions(t);
    let secret = walk_applications(t);
    walk_tokens(t, &secret);
    walk_import(t);
    walk_reading(t);
    walk_replicas(t);
    walk_tenant_life(t);

    let mut all = BTreeSet::new();
    t.commands("", &mut all);
    let is_ours = |name: &&String| {
        let command = name.split(' ').next().unwrap();
        !matches!(command, "serve" | "migrate" | "adopt" | "root" | "signing-key")
            && !name.ends_with(" --help")
            && !name.starts_with(' ')
    };
    let used = t.used.borrow();
    let unused: Vec<&String> = all.iter().filter(is_ours).filter(|name| !used.contains(*name)).collect();
    assert!(all.len() > 100, "the help was not understood: {all:?}");
    assert!(unused.is_empty(), "never used: {unused:?}");
}

fn walk_tenants(t: &Terminal) {
    let made = t.as_root("tenants create bolt --display-name Bolt --credential-prefix bo --owner-given-name Bea");
    let made = made.word("--owner-family-name").word("Bolt").word("--request-id").word(UUID).json();
    assert_eq!(made["tenant"]["displayName"], "Bolt");
    assert_eq!(made["owner"]["familyName"], "Bolt");
    assert!(made["owner"].get("email").is_none(), "{made}");
    assert!(text(&made["masterCredential"]).starts_with("bo_"));
    let again = t.as_root("tenants create bolt --display-name Bolt --credential-prefix bo --owner-given-name Bea");
    let again = again.word("--owner-family-name").word("Bolt").word("--request-id").word(UUID).ok();
    again.says("was shown the first time this request id was used");

    let etag = text(&t.as_root("tenants get bolt").json()["tenant"]["etag"]);
    let updated = t.as_root("tenants update bolt --display-name Bolts").word("--etag").word(&etag).json();
    assert_eq!(updated["tenant"]["displayName"], "Bolts");
    t.as_root("tenants get bolt --etag").word(&etag).exits(1).says("ABORTED");
    let named = |line: Line<'_>| -> Vec<String> {
        line.json()["tenants"].as_array().unwrap().iter().map(|tenant| text(&tenant["name"])).collect()
    };
    assert_eq!(named(t.as_root("tenants list --page-size 1")), ["tenants/acme", "tenants/bolt"]);
    assert_eq!(named(t.as_root("tenants list --limit 1")), ["tenants/acme"]);
    let filter = "display_name = \"Bolts\"";
    assert_eq!(named(t.as_root("tenants list --filter").word(filter)), ["tenants/bolt"]);
    assert_eq!(named(t.as_owner("tenants list")), ["tenants/acme"], "one's own and no other");
}

fn walk_tenant_life(t: &Terminal) {
    let etag = || text(&t.as_root("tenants get bolt").json()["tenant"]["etag"]);
    t.as_root("tenants suspend bolt --etag").word(etag()).ok().says("SUSPENDED");
    t.as_root("tenants activate bolt --etag").word(etag()).ok().says("ACTIVE");
    t.as_root("tenants delete bolt --etag").word(etag()).ok().says("DELETED");
    let count = |words: &str| t.as_root(words).json()["tenants"].as_array().unwrap().len();
    assert_eq!((count("tenants list"), count("tenants list --show-deleted")), (1, 3));
}

fn walk_users(t: &Terminal) {
    let line = "users create ben --email ben@acme.example --given-name Ben --family-name Bay --role admin --request-id";
    let made = t.as_owner(line).word(UUID).json();
    assert_eq!(made["user"]["role"], "USER_ROLE_ADMIN");
    assert_eq!(made["masterKey"]["owner"], "tenants/acme/users/ben");
    let nameless = t.as_owner("users create cleo").ok();
    nameless.says("MEMBER").says("master credential (shown once): kw_");
    t.as_owner("users list").ok().says("cleo");

    let user = || t.as_owner("users get ben").json()["user"].clone();
    let etag = || text(&user()["etag"]);
    let line = "users update ben --email b@acme.example --given-name B --family-name= --role member --etag";
    let updated = t.as_owner(line).word(etag()).json();
    assert_eq!(updated["user"]["email"], "b@acme.example");
    assert!(updated["user"].get("familyName").is_none());
    t.as_owner("users get ben --etag").word(etag()).ok().says("b@acme.example");
    let rotated = t.as_owner("users rotate-master-key ben --etag").word(etag());
    let rotated = rotated.word("--request-id").word("0b0f6f0e-93c5-4a51-a9f5-0f7a3d1f9a10").json();
    assert_ne!(rotated["masterCredential"], made["masterCredential"]);
    let old = text(&made["masterCredential"]);
    t.line("check").variable("KEYWARD_CREDENTIAL", &old).exits(1).says("ROTATED_OUT");
    t.as_owner("users suspend ben --etag").word(etag()).ok().says("SUSPENDED");
    t.as_owner("users activate ben --etag").word(etag()).ok().says("ACTIVE");
    t.as_owner("users delete ben --etag").word(etag()).ok().says("DELETED");
    let count = |line: Line<'_>| line.json()["users"].as_array().unwrap().len();
    assert_eq!(count(t.as_owner("users list --page-size 1")), 2);
    assert_eq!(count(t.as_owner("users list --show-deleted")), 3);
    assert_eq!(count(t.as_owner("users list --limit 1")), 1);
    assert_eq!(count(t.as_owner("users list --filter").word("role = USER_ROLE_OWNER")), 1);
}

fn walk_keys(t: &Terminal) {
    let made = t
        .as_owner("keys create all --owner cleo --display-name All --ttl 30d --not-before 2020-01-01T00:00:00Z")
        .word("--description")
        .word("everything at once")
        .word("--request-id")
        .word("2b1c1bd5-5a27-4b73-86a3-9f2d7a1c3e10");
    let grants = "--grant doc/*=read,write --grant-api maps --grant-table public.roads=select --grant-schema public \
                  --grant-dataservice geocoding --allow-ip 192.0.2.0/24 --allow-referrer *.example.com/* --label a=b";
    let made = grants.split_whitespace().fold(made, Line::word).json();
    let key = &made["key"];
    assert_eq!(key["owner"], "tenants/acme/users/cleo");
    assert_eq!(key["description"], "everything at once");
    assert_eq!(key["grants"].as_array().unwrap().len(), 4);
    assert_eq!(key["labels"]["a"], "b");
    assert_eq!(key["allowedIps"][0], "192.0.2.0/24");
    assert_eq!(key["allowedReferrers"][0], "*.example.com/*");

    let credential = t.file("all.txt", &text(&made["credential"])).display().to_string();
    let check = || {
        let line = t.line("check --resource doc/1 --action write --resource apis/maps --action use --credential-file");
        line.word(&credential).word("--min-revision").word(text(&made["revision"]))
    };
    let fits = "--source-ip 192.0.2.7 --referrer https://www.example.com/a --attribute path=/a --audience maps";
    let allowed = fits.split(' ').fold(check(), Line::word).word("--tenant").word("acme").ok();
    allowed.says("ALLOWED").says("tenants/acme/keys/all").says("a=b");
    check().exits(1).says("IP_NOT_ALLOWED, REFERRER_NOT_ALLOWED");

    let etag = || text(&t.as_owner("keys get all").json()["key"]["etag"]);
    t.as_owner("keys get all --etag").word(etag()).ok().says("table public.roads: select");
    let cleared = "keys update all --clear-expire-time --clear-not-before --clear-allowed-ips --clear-allowed-referrers \
                   --clear-labels --clear-grants --etag";
    let cleared = t.as_owner(cleared).word(etag()).json();
    for field in ["expireTime", "notBeforeTime", "allowedIps", "allowedReferrers", "labels", "grants"] {
        assert!(cleared["key"].get(field).is_none(), "{field}: {cleared}");
    }
    let line = "keys update all --display-name Some --description less --expire-time 2100-01-01T00:00:00Z --not-before \
                2020-01-01T00:00:00Z --allow-ip 192.0.2.1 --allow-referrer example.com --label c=d --grant doc/1=read \
                --grant-api sql --grant-table public.tolls=insert --grant-schema x=create --grant-dataservice routing";
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let updated = t.as_owner(&line).json();
    assert_eq!(updated["key"]["expireTime"], "2100-01-01T00:00:00Z");
    assert_eq!(updated["key"]["grants"].as_array().unwrap().len(), 4);

    let line = t.as_owner("keys create late --parent users/cleo --expire-time 2100-01-01T00:00:00Z");
    assert_eq!(line.json()["key"]["expireTime"], "2100-01-01T00:00:00Z");
    let ids = |line: Line<'_>| -> Vec<String> {
        line.json()["keys"].as_array().unwrap().iter().map(|key| id_of(&key["name"])).collect()
    };
    assert_eq!(ids(t.as_owner("keys list --owner cleo --filter").word("type = KEY_TYPE_REGULAR")), ["all", "late"]);
    assert_eq!(ids(t.as_owner("keys list --parent users/cleo --page-size 1 --limit 2")).len(), 2);
    let unused = |since: &str| ids(t.as_owner("keys list --filter").word("type = KEY_TYPE_REGULAR").word(since));
    assert_eq!(unused("--unused-since=2100-01-31"), unused("--unused-since=2100-01-31T12:00:00+02:00"));
    assert!(unused("--unused-since=2100-01-31").contains(&"late".to_owned()));
    assert!(unused("--unused-since=2020-01-31").is_empty(), "they were made later");
    t.as_owner("keys list --unused-since yesterday").exits(2).says("must be a day or a time");
    let usage = t.as_owner("keys usage all --start 2020-01-31 --end 2100-01-31T12:30:00Z --etag").word(etag()).ok();
    usage.says("2100-01-31T13:00:00Z").says("HOUR (UTC)").says("total");
    let usage = t.as_owner("keys usage all --end 2100-01-31").json();
    assert_eq!(usage["keyUsage"]["startTime"], "2100-01-30T00:00:00Z");
    t.as_owner("keys usage all --start 2100-01-31").exits(1).says("start_time");
    t.as_owner("keys delete late --etag").word(text(&t.as_owner("keys get late").json()["key"]["etag"])).ok();
    assert!(!ids(t.as_owner("keys list")).contains(&"late".to_owned()));
    assert!(ids(t.as_owner("keys list --show-deleted")).contains(&"late".to_owned()));
    let etag = text(&t.as_owner("keys get late").json()["key"]["etag"]);
    t.as_owner("keys undelete late --etag").word(etag).ok().says("ACTIVE");
}

fn walk_secrets(t: &Terminal) {
    let first = t.key("ci");
    let key = || t.as_owner("keys get ci").json()["key"].clone();
    let etag = || text(&key()["etag"]);
    let is_good = |credential: &str| t.line("check").variable("KEYWARD_CREDENTIAL", credential).run().code == 0;

    let rotated = t.as_owner("keys rotate ci --overlap 1h --etag").word(etag());
    let second = text(&rotated.word("--request-id").word("b21f4f5e-06cd-44c5-9a3f-d11f0be2f2a1").json()["credential"]);
    assert!(is_good(&first) && is_good(&second));
    t.as_owner("keys finish-rotation ci --etag").word(etag()).ok();
    assert!(!is_good(&first) && is_good(&second));

    t.as_owner("keys suspend ci --etag").word(etag()).ok().says("SUSPENDED");
    assert!(!is_good(&second));
    t.as_owner("keys activate ci --etag").word(etag()).ok().says("ACTIVE");
    assert!(is_good(&second));

    let secret = text(&t.as_owner("keys generate-secret-key ci --etag").word(etag()).json()["secretKey"]);
    t.line("check").variable("KEYWARD_CREDENTIAL", &second).exits(1).says("SECRET_KEY_REQUIRED");
    let path = t.file("second.txt", &format!("{secret}\n"));
    let line = t.line("check --credential-secret-key-file").word(path.display().to_string());
    line.variable("KEYWARD_CREDENTIAL", &second).ok();

    let found = t.as_owner("keys lookup --credential-file -").stdin(&first).json();
    assert_eq!(found["key"]["name"], "tenants/acme/keys/ci");
    t.as_owner("keys lookup --credential-file -").stdin("kw_unknown").exits(1).says("NOT_FOUND");

    let revoked = t.as_owner("keys revoke ci --reason key-compromise --etag").word(etag()).json();
    assert_eq!(revoked["key"]["revocationReason"], "REVOCATION_REASON_KEY_COMPROMISE");
    assert!(!is_good(&second));
    t.as_owner("keys activate ci").exits(1).says("FAILED_PRECONDITION").says("revocation is final");

    let leaked = t.key("leaked");
    let path = t.file("leaked.txt", &format!("{leaked}\n"));
    let line = t.line("keys revoke-credentials --reason superseded --file").word(path.display().to_string());
    line.ok().says("handed in  1");
    assert!(!is_good(&leaked));
}

fn walk_import(t: &Terminal) {
    let resume = t.dir.path().join("import.progress").display().to_string();
    let line = t.as_owner("keys import --format csv --batch 1 --parent users/cleo --resume-file").word(&resume);
    let done = line.word("-").stdin("key_id,credential\nold,an old credential\nolder,an older credential\n").ok();
    assert_eq!(done.out, "imported 2, refused 0\n");
    t.line("check").variable("KEYWARD_CREDENTIAL", "an older credential").ok().says("tenants/acme/users/cleo");
}

fn walk_replicas(t: &Terminal) {
    let replicas = t.as_root("replicas list --limit 5 --page-size 1").json()["replicas"].as_array().unwrap().clone();
    assert_eq!(replicas.len(), 1);
    assert_eq!(replicas[0]["state"], "REPLICA_STATE_ACTIVE");
    let status = t.as_root("replicas status").json();
    assert_eq!(status["replicaId"], replicas[0]["id"]);
    assert_eq!(status["databaseEngine"], "sqlite");
    t.as_root("replicas list").ok().says("ACTIVE").says("10s").says(&t.server.admin_addr);
    t.as_root("replicas status").ok().says(&text(&status["clusterId"])).says("remaining").says("sqlite");
    t.as_root("doctor --quiet").ok().says("mail").says("nothing is wrong");
    t.as_owner("replicas list").exits(1).says("PERMISSION_DENIED");
    t.line("health").ok().says("serving");
    assert_eq!(t.line("health").json()["status"], "SERVING");
}

fn walk_reading(t: &Terminal) {
    let events = |line: Line<'_>| line.json()["events"].as_array().unwrap().clone();
    let revoked = events(t.as_owner("events list --filter").word("kind = \"key.revoke\""));
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0]["subject"], "tenants/acme/keys/ci");
    assert_eq!(events(t.as_root("events list --all-tenants --limit 3 --page-size 2")).len(), 3);
    t.as_owner("events list").ok().says("KIND").says("credential.revoke");
    t.as_owner("events list --all-tenants").exits(1).says("\n  parent: must be of the form");

    walk_audit(t);
    let path = t.dir.path().join("keyward.binpb");
    t.line("descriptors --out").word(path.display().to_string()).ok();
    assert_eq!(std::fs::read(path).unwrap(), keyward::proto::FILE_DESCRIPTOR_SET);
}

fn walk_audit(t: &Terminal) {
    let head = t.dir.path().join("head");
    let export = |words: &str| t.as_root(words).word("--head-file").word(head.display().to_string());
    let lines = |text: &str| -> Vec<serde_json::Value> {
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let all = export("events export --all-tenants").ok();
    let events = lines(&all.out);
    let last = events.len();
    let revisions: Vec<usize> = events.iter().map(|event| text(&event["revision"]).parse().unwrap()).collect();
    assert_eq!(revisions, (1..=last).collect::<Vec<_>>());
    all.says(&format!("exported {last} events"));
    let later = export("events export --all-tenants --after 3").ok();
    assert_eq!(lines(&later.out), events[3..]);
    t.as_owner("events export").ok().says("tenant.create");
    t.as_root("events export --all-tenants --after").word(last.to_string()).ok().says("there is no event after");
    let kept = std::fs::read_to_string(&head).unwrap();
    assert_eq!(kept.trim(), format!("{last}:{}", text(&events[last - 1]["chain"])));

    // Beside the server that has the database open.
    let database = format!("sqlite:{}", t.dir.path().join("keyward.db").display());
    let verify = |flag: &str| {
        let line = t.line("events verify --database-url").word(&database);
        if flag.is_empty() { line } else { line.word(flag) }
    };
    verify("")
        .ok()
        .says(&format!("whole: {last} events"))
        .says("compare it with a head kept elsewhere")
        .says("are what the log says of them");
    let with_head = verify("--head-file").word(head.display().to_string()).ok();
    with_head.says(&format!("revision {last} is the one that was exported"));
    let ahead = format!("{}:{}", last + 1, text(&events[last - 1]["chain"]));
    verify("--head").word(ahead).exits(1).says("its end was cut off");
    verify("--head").word("7").exits(2).says("64 hexadecimal digits");
    verify("--head-file").word("/nonexistent/head").exits(2).says("could not tell");
    t.line("events verify --database-url sqlite:/nonexistent/db").exits(2).says("could not tell");

    let refused = t.as_root("events watch --all-tenants --after").word("1000000").exits(1);
    refused.says("FAILED_PRECONDITION").says("the database is older");
    t.as_owner("events watch --all-tenants").exits(1).says("parent");
}
