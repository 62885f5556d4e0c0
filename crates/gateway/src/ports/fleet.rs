//! Rate limits that several nodes share.

use driftlock_domain::fleet::{FleetAnswer, Share};
use driftlock_domain::id::OrganizationId;

/// The store that counts for a whole fleet.
pub trait FleetLimits {
    /// Takes a request's share of the key's and the organization's limit, or of neither. `None`
    /// means that the store did not answer within its time limit; then only the node's own limits
    /// apply.
    async fn take(&self, organization: OrganizationId, share: &Share) -> Option<FleetAnswer>;
}
