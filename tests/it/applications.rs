//! Applications: verified by mail, equipped with a secret, and refused with all that is theirs.

mod life;
mod limits;
mod rules;
mod verification;

use crate::harness::{Client, TestServer, TestTenant, resources};
use keyward::proto::v1::*;
use tonic::Status;

const NAME: &str = "tenants/acme/applications/billing";

/// An application that may read documents.
fn reader() -> Application {
    Application { grants: vec![resources("doc/*", &["read"])], ..Application::default() }
}

async fn tried(client: &Client, id: &str, application: Application) -> Result<CreateApplicationResponse, Status> {
    let request = CreateApplicationRequest {
        parent: "tenants/acme".to_owned(),
        application: Some(application),
        application_id: id.to_owned(),
        ..CreateApplicationRequest::default()
    };
    client.applications().create_application(request).await.map(tonic::Response::into_inner)
}

/// A verified application that may read documents: its name and its secret.
async fn verified(server: &TestServer, acme: &TestTenant, id: &str) -> (String, String) {
    let name = tried(&acme.owner, id, reader()).await.unwrap().application.unwrap().name;
    let secret = server.verified(&name).await;
    (name, secret)
}

async fn verify(server: &TestServer, name: &str, token: &str) -> Result<VerifyApplicationResponse, Status> {
    let request = VerifyApplicationRequest {
        name: name.to_owned(),
        verification_token: token.to_owned(),
        ..VerifyApplicationRequest::default()
    };
    server.nobody().applications().verify_application(request).await.map(tonic::Response::into_inner)
}

async fn update(client: &Client, application: Application, paths: &[&str]) -> Result<Application, Status> {
    let update_mask = if paths.is_empty() { None } else { crate::harness::mask(paths) };
    let request = UpdateApplicationRequest { application: Some(application), update_mask };
    let changed = client.applications().update_application(request).await?;
    Ok(changed.into_inner().application.unwrap())
}

async fn token(server: &TestServer, name: &str, secret: &str) -> Result<String, Status> {
    let request =
        CreateTokenRequest { application: name.to_owned(), secret: secret.to_owned(), ..CreateTokenRequest::default() };
    Ok(server.nobody().tokens().create_token(request).await?.into_inner().token)
}
