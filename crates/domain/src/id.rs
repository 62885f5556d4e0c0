//! Typed identifiers: a UUIDv7 with a prefix that names the kind.
//!
//! An id is 16 bytes and `Copy`; text is made only for input and output. Parsing also accepts a
//! plain UUID, since the existing rows of a Supabase project have those.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::text::Text;
use crate::time::Timestamp;

/// The greatest length of an id's text.
pub const ID_CHARS_MAX: usize = 40;

/// Text that is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form {prefix}<32 hex digits>, nor a UUID")]
pub struct MalformedId {
    prefix: &'static str,
}

/// A UUIDv7 (RFC 9562, section 5.7) from this instant and this entropy.
#[must_use]
pub fn uuid_v7(now: Timestamp, entropy: [u8; 10]) -> Uuid {
    let millis = u64::try_from(now.micros() / 1_000).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &entropy).into_uuid()
}

macro_rules! typed_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// The prefix of the text form.
            pub const PREFIX: &'static str = $prefix;

            /// Wraps a UUID read from a store.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// A new id from this instant and this entropy.
            #[must_use]
            pub fn make(now: Timestamp, entropy: [u8; 10]) -> Self {
                Self(uuid_v7(now, entropy))
            }

            /// The UUID inside.
            #[must_use]
            pub const fn uuid(&self) -> Uuid {
                self.0
            }

            /// The text form.
            #[must_use]
            pub fn text(&self) -> Text<ID_CHARS_MAX> {
                let mut text = Text::new();
                text.push_str($prefix);
                text.push_hex(self.as_bytes());
                text
            }

            /// The 16 bytes that stores keep.
            #[must_use]
            pub const fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// An id from the 16 bytes that stores keep.
            #[must_use]
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text().as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = MalformedId;

            fn from_str(text: &str) -> Result<Self, MalformedId> {
                let bare = text.strip_prefix($prefix).unwrap_or(text);
                Uuid::try_parse(bare).map(Self).map_err(|_| MalformedId { prefix: $prefix })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

typed_id!(
    /// An organization, which pays and owns the quota.
    OrganizationId, "org_"
);
typed_id!(
    /// An API key (its record, never its secret).
    KeyId, "key_"
);
typed_id!(
    /// A metered request: the number of its receipt, by which its settlement is idempotent.
    UsageId, "use_"
);
typed_id!(
    /// A node that holds leases.
    NodeId, "node_"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        let id = UsageId::make(Timestamp::from_secs(1_700_000_000), [7; 10]);
        assert!(id.to_string().starts_with("use_"));
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.uuid().to_string().parse(), Ok(id), "a plain UUID is accepted");
        assert!("use_zz".parse::<UsageId>().is_err());
        assert!("key_018bcfe5680070707070707070707070".parse::<UsageId>().is_err());
    }

    #[test]
    fn later_ids_sort_later() {
        let early = UsageId::make(Timestamp::from_secs(1), [255; 10]);
        let late = UsageId::make(Timestamp::from_secs(2), [0; 10]);
        assert!(early < late);
    }
}
