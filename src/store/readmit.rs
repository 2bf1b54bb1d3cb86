//! Who a caller is, read once more under the head lock, and whose the things are that it names.
//!
//! INVARIANT (decided under the lock): what a mutation rests on is read after the head was locked (V0), in statements
//! of their own, or was read by the group that left the head where it is; once for all that share the transaction, for nobody else can write meanwhile (`store/group/cache.rs`),
//! and for all who wait in one go where it is known what they will rest on (`store/group/ahead.rs`).

use super::draft::Draft;
use crate::domain::actor::Actor;
use crate::domain::credential::Digest;
use crate::domain::decision::{Found, Query, Reason, evaluate};
use crate::domain::facts::{Chain, Facts, OwnerState, TokenFacts};
use crate::domain::key::{Retirement, Secret};
use crate::domain::name::{ApplicationId, Collection, KeyId, Owner, SessionId, TenantId, TokenId, UserId};
use crate::domain::permission::Grants;
use crate::domain::policy::{Directory, Whose, whose_user};
use crate::domain::tenant::Standing;
use crate::domain::token::{Parent, Proof};
use crate::domain::user::User;
use crate::error::{Error, Result};
use std::collections::HashMap;

/// Of a secret that is not among those of its holder any more: as good as retired for ever.
const GONE: Option<Retirement> = Some(Retirement { time: crate::domain::clock::Time::MIN, is_over: true });

fn retirement_of(secrets: &[Secret], is_it: impl Fn(&Secret) -> bool) -> Option<Retirement> {
    secrets.iter().find(|secret| is_it(secret)).map_or(GONE, |secret| secret.retirement)
}

impl Draft {
    /// The proof that admitted the caller, read once more and judged by the same rules.
    pub async fn readmit(&self, proof: &Proof, query: &Query<'_>) -> Result<Actor> {
        let refused = |reason: &str| Error::Unauthenticated { reason: reason.to_owned() };
        let judge = |found: Found<'_>| {
            let decision = evaluate(found, query, self.now(), &RowDirectory::default());
            let names: Vec<&str> = decision.reasons().iter().map(Reason::as_str).collect();
            if decision.is_allowed() { Ok(()) } else { Err(refused(&names.join(", "))) }
        };
        if let Proof::Credential(digest) = proof
            && let Some(root) = self.root().await?
            && let Some(secret) = root.secrets.iter().find(|secret| secret.digest == *digest)
        {
            judge(Found::Root { retirement: secret.retirement })?;
            return Ok(Actor::root());
        }
        let chain = match proof {
            Proof::Credential(digest) => self.chain(digest).await?,
            Proof::Jwt { kid, tenant, token } => {
                let key = self.signing_key(kid).await?;
                if !key.is_some_and(|key| key.may_have_signed(token.expire_time, self.now())) {
                    return Err(refused(Reason::TokenSignatureInvalid.as_str()));
                }
                let row = self.token(tenant, &token.id).await?;
                let is_revoked = row.is_some_and(|row| row.revoke_time.is_some());
                self.chain_of_token(tenant, TokenFacts { is_revoked, ..token.clone() }).await?
            }
        };
        let chain = chain.ok_or_else(|| refused(Reason::NotFound.as_str()))?;
        judge(Found::Held(chain.held()))?;
        Ok(Actor::of(chain))
    }

    /// What stands behind the credential of that digest, root's apart.
    pub async fn chain(&self, digest: &Digest) -> Result<Option<Chain>> {
        if let Some(key) = self.key_of_digest(digest).await? {
            let retirement = retirement_of(&key.secrets, |secret| secret.digest == *digest);
            return self.chain_from(Facts::from(&key), retirement, None).await.map(Some);
        }
        if let Some(session) = self.session_of_digest(digest).await? {
            return self.chain_from(Facts::from(&session), None, None).await.map(Some);
        }
        if let Some(token) = self.token_of_digest(digest).await? {
            return self.chain_of_token(&token.tenant, token.facts()).await;
        }
        if let Some(application) = self.application_of_digest(digest).await? {
            let retirement = retirement_of(&application.secrets, |secret| secret.digest == *digest);
            return self.chain_from(Facts::from(&application), retirement, None).await.map(Some);
        }
        Ok(None)
    }

    async fn chain_of_token(&self, tenant: &TenantId, token: TokenFacts) -> Result<Option<Chain>> {
        let is_it = |secret: &Secret| secret.revision == token.secret_version;
        let (facts, retirement) = match &token.parent {
            Parent::Key(id) => {
                let Some(key) = self.key(tenant, id).await? else { return Ok(None) };
                (Facts::from(&key), retirement_of(&key.secrets, is_it))
            }
            Parent::Application(id) => {
                let Some(application) = self.application(tenant, id).await? else { return Ok(None) };
                (Facts::from(&application), retirement_of(&application.secrets, is_it))
            }
        };
        self.chain_from(facts, retirement, Some(token)).await.map(Some)
    }

    async fn chain_from(
        &self,
        facts: Facts,
        retirement: Option<Retirement>,
        token: Option<TokenFacts>,
    ) -> Result<Chain> {
        let application = match &facts.owner {
            Some(Owner::Application(id)) => {
                self.application(&facts.tenant, id).await?.map(|application| Facts::from(&application))
            }
            Some(Owner::User(_)) | None => None,
        };
        let owner = self.owner_state(&facts.tenant, facts.owner.as_ref()).await?;
        let tenant = self.tenant(&facts.tenant).await?.map_or(Standing::Deleted, |tenant| tenant.standing());
        Ok(Chain { facts, retirement, token, application, owner, tenant })
    }

    /// The user behind an owner: itself, or the owner of the application.
    pub async fn owner_user(&self, tenant: &TenantId, owner: Option<&Owner>) -> Result<Option<User>> {
        match owner {
            Some(Owner::User(user)) => self.user(tenant, user).await,
            Some(Owner::Application(id)) => match self.application(tenant, id).await? {
                Some(application) => self.user(tenant, &application.owner).await,
                None => Ok(None),
            },
            None => Ok(None),
        }
    }

    /// What is known, under the lock, of the user behind an owner.
    pub async fn owner_state(&self, tenant: &TenantId, owner: Option<&Owner>) -> Result<Option<OwnerState>> {
        Ok(self.owner_user(tenant, owner).await?.as_ref().map(OwnerState::from))
    }

    /// Whose a thing of a tenant is.
    pub async fn whose(&self, tenant: &TenantId, collection: Collection, id: &str) -> Result<Option<Whose>> {
        let owner = match collection {
            Collection::Users => UserId::find(id).map(Owner::User),
            Collection::Keys => match KeyId::find(id) {
                Some(id) => self.key(tenant, &id).await?.and_then(|key| key.owner),
                None => None,
            },
            Collection::Applications => ApplicationId::find(id).map(Owner::Application),
            Collection::Tokens => match TokenId::find(id) {
                Some(id) => match self.token(tenant, &id).await?.map(|token| token.parent) {
                    Some(Parent::Application(id)) => Some(Owner::Application(id)),
                    Some(Parent::Key(id)) => self.key(tenant, &id).await?.and_then(|key| key.owner),
                    None => None,
                },
                None => None,
            },
            Collection::Sessions => match SessionId::find(id) {
                Some(id) => self.session(tenant, &id).await?.map(|session| Owner::User(session.user)),
                None => None,
            },
            Collection::Tenants | Collection::Events => None,
        };
        Ok(self.owner_user(tenant, owner.as_ref()).await?.as_ref().map(whose_user))
    }

    /// Whose the things are that these names of Keyward's own resources stand for.
    pub async fn directory(&self, tenant: &TenantId, grants: &Grants) -> Result<RowDirectory> {
        let mut directory = RowDirectory::default();
        for (pattern, _) in grants.iter() {
            let Some((word, id)) = pattern.as_str().strip_prefix("keyward/").and_then(|own| own.split_once('/')) else {
                continue;
            };
            if let Some(collection) = Collection::find(word)
                && let Some(whose) = self.whose(tenant, collection, id).await?
            {
                directory.0.insert(format!("{word}/{id}"), whose);
            }
        }
        Ok(directory)
    }
}

/// Whose things are, read under the lock before a pure rule asks.
#[derive(Debug, Default)]
pub struct RowDirectory(HashMap<String, Whose>);

impl Directory for RowDirectory {
    fn whose(&self, _tenant: &TenantId, collection: Collection, id: &str) -> Option<Whose> {
        self.0.get(&format!("{}/{id}", collection.as_str())).cloned()
    }
}
