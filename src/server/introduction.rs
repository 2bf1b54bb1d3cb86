//! What an operator is told at a first start: the root credential, and that it works.

use super::listen;
use crate::config::Address;
use crate::domain::credential::Credential;
use crate::error::{Error, Result};
use crate::proto::v1::check_service_client::CheckServiceClient;
use crate::proto::v1::{CheckRequest, Decision};

/// The credential, unless it is kept in a file, with the answer to a first Check, asked over the wire. Over TLS nothing
/// is asked: which authority its clients trust, and by which name they know us, is not for the server to say.
pub(super) async fn text(address: &Address, has_tls: bool, credential: &Credential, is_kept: bool) -> Result<String> {
    let mut text = String::new();
    if !is_kept {
        text.push_str("Root credential (shown once, keep it now):\n\n  ");
        text.push_str(credential.expose());
        text.push_str("\n\n");
    }
    if !has_tls {
        let answer = first_check(address, credential).await?;
        text.push_str(&format!("First Check, asked over gRPC at {address}: {answer}\n"));
    }
    text.push_str("Ask it yourself:\n\n");
    let server = match (format!("{address}").as_str(), has_tls) {
        ("127.0.0.1:50051", false) => String::new(),
        (address, false) => format!(" --server {address}"),
        (address, true) => format!(" --server https://{address} --tls-ca-file <the authority of its certificate>"),
    };
    if is_kept {
        text.push_str(&format!("  keyward check{server} --credential-file <the file of --root-key-file>\n"));
    } else {
        text.push_str(&format!("  KEYWARD_CREDENTIAL={} keyward check{server}\n", credential.expose()));
    }
    Ok(text)
}

/// Asks the data listener about root's own credential, as any client would.
async fn first_check(address: &Address, credential: &Credential) -> Result<String> {
    let channel = listen::connect(address).await?;
    let mut request =
        tonic::Request::new(CheckRequest { credential: credential.expose().to_owned(), ..CheckRequest::default() });
    let bearer = format!("Bearer {}", credential.expose()).parse().map_err(Error::internal)?;
    request.metadata_mut().insert("authorization", bearer);
    let answer = CheckServiceClient::new(channel).check(request).await.map_err(Error::internal)?.into_inner();
    match answer.decision() {
        Decision::Allowed => Ok(format!("ALLOWED, at revision {}", answer.revision)),
        Decision::Unspecified | Decision::Denied => {
            Err(Error::internal("the first Check of the root credential was denied"))
        }
    }
}
