//! Who may make what, lists, masks, etags, replays and events.

use super::{NAME, reader, tried, update, verified};
use crate::harness::{TestServer, mask, refused, resources, send};
use keyward::proto::v1::*;
use tonic::Code;

#[tokio::test]
async fn nobody_makes_an_application_that_holds_more_than_they_do() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (_, member) = server.user(&acme, "bo", UserRole::Member).await;
    let wide = Application { grants: vec![resources("keyward/users/*", &["list"])], ..Application::default() };
    refused(tried(&member, "wide", wide.clone()).await, Code::PermissionDenied);
    tried(&member, "own", reader()).await.unwrap();
    tried(&acme.owner, "wide", wide).await.unwrap();
    let key = acme.owner.key("tenants/-").may("keyward/applications/*", "*").may("doc/1", "read").issued().await;
    let narrow = server.bearer(&key.credential);
    refused(tried(&narrow, "billing", reader()).await, Code::PermissionDenied);
    let small = Application { grants: vec![resources("doc/1", &["read"])], ..Application::default() };
    tried(&narrow, "small", small).await.unwrap();

    // Nor does it change, equip or bring back one.
    let (_, secret) = verified(&server, &acme, "billing").await;
    let mine =
        Application { name: NAME.to_owned(), contact_email: "eve@acme.example".to_owned(), ..Default::default() };
    refused(update(&narrow, mine, &[]).await, Code::PermissionDenied);
    let rotation = RotateApplicationSecretRequest { name: NAME.to_owned(), ..Default::default() };
    refused(narrow.applications().rotate_application_secret(rotation).await, Code::PermissionDenied);
    send!(narrow.applications(), revoke_application, RevokeApplicationRequest { name: NAME }).unwrap();
    let activation = send!(narrow.applications(), activate_application, ActivateApplicationRequest { name: NAME });
    refused(activation, Code::PermissionDenied);
    server.check(&secret).denied(&[Reason::ApplicationRevoked]).await;

    // One whose life ends makes none that lives on.
    let short = acme.owner.key("tenants/-").may("**", "*").asking(|request| request.ttl = crate::harness::seconds(60));
    let short = server.bearer(&short.issued().await.credential);
    refused(tried(&short, "longer", reader()).await, Code::PermissionDenied);
}

#[tokio::test]
async fn an_application_acts_for_itself_within_its_grants() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let grants = vec![resources("doc/*", &["read"]), resources("keyward/keys/*", &["create", "list"])];
    let name = tried(&acme.owner, "billing", Application { grants, ..Default::default() }).await.unwrap();
    assert_eq!(name.application.unwrap().name, NAME);
    let client = server.bearer(&server.verified(NAME).await);
    let made = client.key("tenants/acme").may("doc/1", "read").issued().await;
    assert_eq!(made.key.unwrap().owner, NAME);
    refused(client.key("tenants/acme").may("doc/1", "write").tried().await, Code::PermissionDenied);
    refused(tried(&client, "another", reader()).await, Code::PermissionDenied);
    let answer = server.check(&made.credential).may("doc/1", "read").allowed().await.principal.unwrap();
    assert_eq!((answer.application.as_str(), answer.user.as_str()), (NAME, ""));
}

#[tokio::test]
async fn lists_are_filtered_paged_and_a_members_own() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (bo, member) = server.user(&acme, "bo", UserRole::Member).await;
    for number in 0..5 {
        let application = Application { display_name: format!("n{number}"), ..reader() };
        tried(&acme.owner, &format!("a{number}"), application).await.unwrap();
    }
    tried(&member, "bo1", reader()).await.unwrap();
    server.verified("tenants/acme/applications/a1").await;
    send!(
        acme.owner.applications(),
        revoke_application,
        RevokeApplicationRequest { name: "tenants/acme/applications/a2" }
    )
    .unwrap();
    send!(
        acme.owner.applications(),
        delete_application,
        DeleteApplicationRequest { name: "tenants/acme/applications/a3" }
    )
    .unwrap();
    let list = async |request: ListApplicationsRequest| {
        let found = acme.owner.applications().list_applications(request).await.unwrap().into_inner();
        let ids = found.applications.iter().map(|it| it.name.rsplit('/').next().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), found.next_page_token)
    };
    let request = || ListApplicationsRequest { parent: "tenants/-".to_owned(), ..Default::default() };
    assert_eq!(list(request()).await.0, ["a0", "a1", "a2", "a4", "bo1"]);
    let all = ListApplicationsRequest { show_deleted: true, ..request() };
    assert_eq!(list(all).await.0, ["a0", "a1", "a2", "a3", "a4", "bo1"]);
    for (filter, expected) in [
        ("is_verified = true", vec!["a1"]),
        ("is_revoked = true", vec!["a2"]),
        ("is_verified = false AND is_revoked = false", vec!["a0", "a4", "bo1"]),
        ("display_name = \"n4\"", vec!["a4"]),
        (&format!("owner = \"{}\"", bo.name), vec!["bo1"]),
        ("create_time > \"2100-01-01T00:00:00Z\"", vec![]),
    ] {
        let request = ListApplicationsRequest { filter: filter.to_owned(), ..request() };
        assert_eq!(list(request).await.0, expected, "{filter}");
    }
    let (first, next) = list(ListApplicationsRequest { page_size: 3, ..request() }).await;
    let (second, end) = list(ListApplicationsRequest { page_size: 3, page_token: next.clone(), ..request() }).await;
    assert_eq!((first.len(), second, end.as_str()), (3, vec!["a4".to_owned(), "bo1".to_owned()], ""));
    let under = ListApplicationsRequest { parent: bo.name.clone(), ..Default::default() };
    assert_eq!(list(under.clone()).await.0, ["bo1"]);
    let forged = ListApplicationsRequest { page_token: next, ..under };
    assert_eq!(
        refused(acme.owner.applications().list_applications(forged).await, Code::InvalidArgument).fields,
        ["page_token"]
    );
    let own = member.applications().list_applications(request()).await.unwrap().into_inner();
    assert_eq!(own.applications.len(), 1);
    let bad = ListApplicationsRequest { filter: "secret = \"x\"".to_owned(), ..request() };
    assert_eq!(
        refused(acme.owner.applications().list_applications(bad).await, Code::InvalidArgument).fields,
        ["filter"]
    );
}

#[tokio::test]
async fn masks_and_etags_are_kept_to() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let made = tried(&acme.owner, "billing", reader()).await.unwrap().application.unwrap();
    for path in ["owner", "name", "is_verified", "is_revoked", "secret", "uid"] {
        let request = UpdateApplicationRequest { application: Some(made.clone()), update_mask: mask(&[path]) };
        let refusal = refused(acme.owner.applications().update_application(request).await, Code::InvalidArgument);
        assert_eq!(refusal.fields, ["update_mask"], "{path}");
    }
    let named = Application { name: NAME.to_owned(), display_name: "Billing".to_owned(), ..Default::default() };
    let changed = update(&acme.owner, named.clone(), &[]).await.unwrap();
    assert_eq!((changed.display_name.as_str(), &changed.grants), ("Billing", &made.grants));
    assert_ne!(changed.etag, made.etag);
    let same = update(&acme.owner, named, &[]).await.unwrap();
    assert_eq!(same.etag, changed.etag, "nothing changed");
    let stale = Application { etag: made.etag.clone(), description: "x".to_owned(), ..changed.clone() };
    refused(update(&acme.owner, stale, &["description"]).await, Code::Aborted);
    let stale = send!(
        acme.owner.applications(),
        revoke_application,
        RevokeApplicationRequest { name: NAME, etag: &*made.etag }
    );
    refused(stale, Code::Aborted);
    let all = Application {
        contact_email: made.contact_email.clone(),
        ..Application { name: NAME.to_owned(), ..Default::default() }
    };
    let cleared = update(&acme.owner, all, &["*"]).await.unwrap();
    assert!(cleared.display_name.is_empty() && cleared.grants.is_empty() && !cleared.is_verified);
    let owned = Application { owner: acme.owner_name.clone(), ..reader() };
    assert_eq!(refused(tried(&acme.owner, "x", owned).await, Code::InvalidArgument).fields, ["application.owner"]);
}

#[tokio::test]
async fn the_same_request_makes_one_application_and_one_mail() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let request = CreateApplicationRequest {
        parent: "tenants/-".to_owned(),
        application: Some(reader()),
        request_id: "0192d4e0-7d64-7cc9-8d1a-3a4c1b1f6a02".to_owned(),
        ..Default::default()
    };
    let first = acme.owner.applications().create_application(request.clone()).await.unwrap().into_inner();
    server.restart().await;
    let owner = server.bearer(&acme.made.master_credential);
    let again = owner.applications().create_application(request.clone()).await.unwrap().into_inner();
    assert_eq!(again, first);
    let other = CreateApplicationRequest { application_id: "x".to_owned(), ..request };
    refused(owner.applications().create_application(other).await, Code::InvalidArgument);
    let name = first.application.unwrap().name;
    server.verified(&name).await;
    assert_eq!(server.mailed(&name, 1).await.len(), 1);
}

#[tokio::test]
async fn everything_is_told_in_events_but_no_secret() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (_, secret) = verified(&server, &acme, "billing").await;
    let token = server.mailed(NAME, 1).await.pop().unwrap().token;
    let rotation = RotateApplicationSecretRequest { name: NAME.to_owned(), ..Default::default() };
    acme.owner.applications().rotate_application_secret(rotation).await.unwrap();
    send!(acme.owner.applications(), revoke_application, RevokeApplicationRequest { name: NAME }).unwrap();
    send!(acme.owner.applications(), activate_application, ActivateApplicationRequest { name: NAME }).unwrap();
    let changed =
        Application { name: NAME.to_owned(), contact_email: "bo@acme.example".to_owned(), ..Default::default() };
    server.pass(60);
    update(&acme.owner, changed, &[]).await.unwrap();
    server.pass(60);
    send!(acme.owner.applications(), resend_verification, ResendVerificationRequest { name: NAME }).unwrap();
    send!(acme.owner.applications(), delete_application, DeleteApplicationRequest { name: NAME }).unwrap();
    let events = send!(acme.owner.events(), list_events, ListEventsRequest { parent: "tenants/-" }).unwrap().events;
    let about: Vec<_> = events.iter().filter(|event| event.subject == NAME).collect();
    let mut kinds: Vec<&str> = about.iter().map(|event| event.kind.as_str()).collect();
    kinds.sort_unstable();
    let expected =
        ["activate", "create", "delete", "resend_verification", "revoke", "rotate_secret", "update", "verify"];
    assert_eq!(kinds, expected.map(|verb| format!("application.{verb}")));
    let verified = about.iter().find(|event| event.kind == "application.verify").unwrap();
    assert_eq!(verified.actor, NAME);
    let text = format!("{about:?}");
    assert!(!text.contains(&token) && !text.contains(&secret), "{text}");
}
