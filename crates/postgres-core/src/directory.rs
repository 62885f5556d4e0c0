//! Organizations and keys.

use driftlock_domain::audit::AuditRecord;
use driftlock_domain::denial::Fault;
use driftlock_domain::id::{KeyId, OrganizationId};
use driftlock_domain::key::{KeyHash, KeyRecord};
use driftlock_domain::organization::{Organization, OrganizationPatch};
use driftlock_domain::time::Timestamp;
use driftlock_gateway::ports::{Directory, HandedOver, HandoverAsk, Page};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::args::{FIRST_UUID, int, read, record, uuid, write};
use crate::{Call, FunctionStore};

/// The maximum number of tries of a change if other changes of the row come first.
const ROUNDS_MAX: usize = 8;

/// An organization and the revision of its row.
#[derive(Deserialize)]
struct Revised {
    organization: Organization,
    revision: i64,
}

impl<C: Call> FunctionStore<C> {
    async fn revised(&self, id: OrganizationId) -> Result<Option<Revised>, Fault> {
        read(self.call.call("driftlock_organization", json!({ "id": uuid!(id) })).await?)
    }
}

impl<C: Call> Directory for FunctionStore<C> {
    async fn ready(&self) -> Result<(), Fault> {
        self.call.call("driftlock_ready", json!({})).await.map(drop)
    }

    async fn key_by_hash(&self, hash: &KeyHash) -> Result<Option<KeyRecord>, Fault> {
        read(self.call.call("driftlock_key_by_hash", json!({ "hash": hash.hex() })).await?)
    }

    async fn key_with_owner(
        &self,
        hash: &KeyHash,
    ) -> Result<Option<(KeyRecord, Option<Organization>)>, Fault> {
        read(self.call.call("driftlock_caller", json!({ "hash": hash.hex() })).await?)
    }

    async fn key(&self, id: KeyId) -> Result<Option<KeyRecord>, Fault> {
        read(self.call.call("driftlock_key", json!({ "id": uuid!(id) })).await?)
    }

    async fn organization(&self, id: OrganizationId) -> Result<Option<Organization>, Fault> {
        Ok(self.revised(id).await?.map(|revised| revised.organization))
    }

    async fn organizations(&self, page: Page<OrganizationId>) -> Result<Vec<Organization>, Fault> {
        let after = page.after.map_or(FIRST_UUID.to_owned(), |id| uuid!(id));
        let args = json!({ "after": after, "limit": page.limit });
        read(self.call.call("driftlock_organizations", args).await?)
    }

    async fn create_organization(
        &self,
        organization: &Organization,
        audit: AuditRecord,
    ) -> Result<(), Fault> {
        let args = json!({ "organization": row(organization)?, "audit": [record(&audit)] });
        self.call.call("driftlock_create_organization", args).await.map(drop)
    }

    async fn patch_organization(
        &self,
        id: OrganizationId,
        patch: OrganizationPatch,
        audit: AuditRecord,
    ) -> Result<Option<Organization>, Fault> {
        for _ in 0..ROUNDS_MAX {
            let Some(Revised { mut organization, revision }) = self.revised(id).await? else {
                return Ok(None);
            };
            patch.clone().apply(&mut organization);
            let args = json!({
                "organization": row(&organization)?, "revision": revision,
                "audit": [record(&audit)],
            });
            if self.call.call("driftlock_update_organization", args).await? == Value::Bool(true) {
                return Ok(Some(organization));
            }
        }
        Err(Fault::store(format!("{id}: too many concurrent changes")))
    }

    async fn keys(
        &self,
        organization: OrganizationId,
        page: Page<KeyId>,
    ) -> Result<Vec<KeyRecord>, Fault> {
        let after = page.after.map_or(FIRST_UUID.to_owned(), |id| uuid!(id));
        let args = json!({
            "organization": uuid!(organization), "after": after, "limit": page.limit,
        });
        read(self.call.call("driftlock_keys", args).await?)
    }

    async fn create_key(
        &self,
        key: &KeyRecord,
        hash: &KeyHash,
        audit: AuditRecord,
    ) -> Result<(), Fault> {
        let args = json!({ "key": key_row(key)?, "hash": hash.hex(), "audit": [record(&audit)] });
        self.call.call("driftlock_create_key", args).await.map(drop)
    }

    async fn revoke_key(
        &self,
        id: KeyId,
        at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Option<KeyRecord>, Fault> {
        let args = json!({ "id": uuid!(id), "at": at.micros(), "audit": [record(&audit)] });
        read(self.call.call("driftlock_revoke_key", args).await?)
    }

    async fn rotate_key(
        &self,
        id: KeyId,
        successor: &KeyRecord,
        hash: &KeyHash,
        revoke_at: Timestamp,
        audit: AuditRecord,
    ) -> Result<Option<KeyRecord>, Fault> {
        let args = json!({
            "id": uuid!(id), "at": revoke_at.micros(), "successor": key_row(successor)?,
            "hash": hash.hex(), "audit": [record(&audit)],
        });
        read(self.call.call("driftlock_revoke_key", args).await?)
    }

    async fn touch_keys(&self, used: &[(KeyId, Timestamp)]) -> Result<(), Fault> {
        let used: Vec<Value> =
            used.iter().map(|(id, at)| json!({ "id": uuid!(id), "at": at.micros() })).collect();
        self.call.call("driftlock_touch_keys", json!({ "used": used })).await.map(drop)
    }

    async fn hand_over(&self, ask: HandoverAsk) -> Result<HandedOver, Fault> {
        let args = json!({
            "id": uuid!(ask.organization), "to": ask.to, "period_end": ask.period_end.micros(),
            "notice": int(ask.notice.as_micros().try_into().unwrap_or(u64::MAX)),
            "now": self.stamp(ask.now), "audit": [record(&ask.audit)],
        });
        let agreed: Option<Organization> =
            read(self.call.call("driftlock_hand_over", args).await?)?;
        Ok(agreed.map_or(HandedOver::Unknown, |agreed| HandedOver::Agreed(Box::new(agreed))))
    }
}

fn row(organization: &Organization) -> Result<Value, Fault> {
    let mut row = write(organization)?;
    row["id"] = uuid!(organization.id).into();
    Ok(row)
}

fn key_row(key: &KeyRecord) -> Result<Value, Fault> {
    let mut row = write(key)?;
    row["id"] = uuid!(key.id).into();
    row["organization_id"] = uuid!(key.organization).into();
    Ok(row)
}
