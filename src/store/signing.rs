//! Signing keys and settings. Of a signing key the ledger has what is public; its private half, sealed under a key that
//! is not in the database, is written beside it in the same transaction and taken away once it signs no more.

use super::draft::Draft;
use super::entity::{setting, signing_key};
use super::failure::sort;
use super::open::Store;
use super::rows::{READER, check_reader};
use crate::domain::clock::Time;
use crate::domain::signing::{PublicKey, SigningKey};
use crate::error::{Error, Result};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, OnConflict};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder};
use std::fmt;

/// Something that only the master key can open.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    /// What the cipher was begun with.
    pub nonce: Vec<u8>,
    /// The text, and the tag that shows it is whole.
    pub ciphertext: Vec<u8>,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed(..)")
    }
}

fn row(key: &SigningKey, sealed: Option<Sealed>) -> signing_key::ActiveModel {
    let (nonce, ciphertext) = sealed.map(|sealed| (sealed.nonce, sealed.ciphertext)).unzip();
    signing_key::ActiveModel {
        kid: Set(key.kid.clone()),
        public_key: Set(key.public_key.as_bytes().to_vec()),
        nonce: Set(nonce),
        ciphertext: Set(ciphertext),
        create_time: Set(key.create_time.micros()),
        sign_time: Set(key.sign_time.micros()),
        retire_time: Set(key.retire_time.map(Time::micros)),
        is_compromised: Set(key.is_compromised),
        revision: Set(key.revision),
        min_reader: Set(READER),
    }
}

fn signing_key(row: signing_key::Model) -> Result<SigningKey> {
    let signing_key::Model {
        kid,
        public_key,
        nonce: _,
        ciphertext: _,
        create_time,
        sign_time,
        retire_time,
        is_compromised,
        revision,
        min_reader,
    } = row;
    check_reader(min_reader)?;
    let broken = || Error::internal("a row of the database makes no sense: a signing key");
    let public_key = PublicKey::from_bytes(public_key.try_into().map_err(|_| broken())?);
    if public_key.kid() != kid {
        return Err(broken());
    }
    Ok(SigningKey {
        kid,
        public_key,
        create_time: Time::from_micros(create_time),
        sign_time: Time::from_micros(sign_time),
        retire_time: retire_time.map(Time::from_micros),
        is_compromised,
        revision,
    })
}

pub(super) async fn keys(db: &impl ConnectionTrait) -> Result<Vec<SigningKey>> {
    let rows = signing_key::Entity::find().order_by_asc(signing_key::Column::SignTime).all(db).await.map_err(sort)?;
    rows.into_iter().map(signing_key).collect()
}

/// Writes what is public of a key; its private half is left as it is.
pub(super) async fn put(db: &impl ConnectionTrait, key: &SigningKey) -> Result<()> {
    let conflict = OnConflict::column(signing_key::Column::Kid)
        .update_columns([
            signing_key::Column::SignTime,
            signing_key::Column::RetireTime,
            signing_key::Column::IsCompromised,
            signing_key::Column::Revision,
            signing_key::Column::MinReader,
        ])
        .to_owned();
    signing_key::Entity::insert(row(key, None)).on_conflict(conflict).exec_without_returning(db).await.map_err(sort)?;
    Ok(())
}

impl Draft {
    /// All signing keys, under the lock.
    pub async fn signing_keys(&self) -> Result<Vec<SigningKey>> {
        let found = keys(self.transaction()).await?;
        Ok(found.into_iter().filter_map(|key| self.seen.note(Some(key))).collect())
    }

    /// The signing key of that id, under the lock.
    pub async fn signing_key(&self, kid: &str) -> Result<Option<SigningKey>> {
        let row = signing_key::Entity::find_by_id(kid).one(self.transaction()).await.map_err(sort)?;
        row.map(signing_key).transpose()
    }

    /// Keeps the private half of a new key, which is to be committed with this mutation.
    pub async fn keep_private_half(&self, key: &SigningKey, sealed: Sealed) -> Result<()> {
        signing_key::Entity::insert(row(key, Some(sealed)))
            .exec_without_returning(self.writing().await?)
            .await
            .map_err(sort)?;
        Ok(())
    }

    /// Takes away the private halves of keys that sign no more.
    pub async fn wipe_private_halves(&self, kids: Vec<String>) -> Result<()> {
        signing_key::Entity::update_many()
            .col_expr(signing_key::Column::Nonce, Expr::value(Option::<Vec<u8>>::None))
            .col_expr(signing_key::Column::Ciphertext, Expr::value(Option::<Vec<u8>>::None))
            .filter(signing_key::Column::Kid.is_in(kids))
            .exec(self.writing().await?)
            .await
            .map_err(sort)?;
        Ok(())
    }
}

impl Store {
    /// All signing keys.
    pub async fn signing_keys(&self) -> Result<Vec<SigningKey>> {
        keys(&self.reader).await
    }

    /// The private half of a signing key, if it still has one.
    pub async fn private_half(&self, kid: &str) -> Result<Option<Sealed>> {
        let row = signing_key::Entity::find_by_id(kid).one(&self.reader).await.map_err(sort)?;
        let sealed = row.and_then(|row| row.nonce.zip(row.ciphertext));
        Ok(sealed.map(|(nonce, ciphertext)| Sealed { nonce, ciphertext }))
    }

    /// What the first start decided under this name, if it has.
    pub async fn setting(&self, name: &str) -> Result<Option<String>> {
        let row = setting::Entity::find_by_id(name).one(&self.reader).await.map_err(sort)?;
        Ok(row.map(|row| row.value))
    }

    /// Decides something for all that follow, unless that has been done: what holds. No mutation: no revision, no event.
    pub async fn settle(&self, name: &str, value: &str) -> Result<String> {
        let row = setting::ActiveModel { name: Set(name.to_owned()), value: Set(value.to_owned()) };
        setting::Entity::insert(row)
            .on_conflict_do_nothing_on([setting::Column::Name])
            .exec_without_returning(&self.writer)
            .await
            .map_err(sort)?;
        self.setting(name).await?.ok_or_else(|| Error::internal("a setting was not kept"))
    }
}
