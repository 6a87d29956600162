//! How many bytes of files an organisation may store: knowledge, attachments, pictures, and uploads
//! that wait to be used, also those of visitors.
//!
//! The row that counts them is the judge (`parlance_storage::uploads::insert`): it is changed in the
//! transaction that notes an upload, so that uploads at the same time are together never more than the
//! quota. What is asked here before is only there to turn uploads away while they are small.

use parlance_domain::{Error, Result, Tenant};
use parlance_storage::uploads;

use crate::App;

/// What an organisation stores of what it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Bytes that it stores.
    pub stored: u64,
    /// Bytes that it may store; `None` for any number.
    pub quota: Option<u64>,
}

impl Usage {
    /// Bytes that there is room for.
    pub fn room(self) -> u64 {
        self.quota.map_or(u64::MAX, |quota| quota.saturating_sub(self.stored))
    }

    /// Whether there is room for so many bytes more.
    ///
    /// # Errors
    /// [`Error::QuotaExceeded`] when there is not.
    pub fn check(self, bytes: u64) -> Result<()> {
        match self.quota {
            Some(limit) if bytes > self.room() => Err(Error::QuotaExceeded { limit }),
            _ => Ok(()),
        }
    }
}

/// The quota of each organisation in bytes; the setting's 0 stands for none.
pub(crate) fn quota(app: &App) -> Option<u64> {
    Some(app.settings.organisation_upload_bytes).filter(|quota| *quota > 0)
}

/// What the organisation stores now.
pub async fn usage(app: &App, tenant: Tenant) -> Result<Usage> {
    let mut tx = app.db.read(tenant).await?;
    let stored = uploads::stored_bytes(&mut tx, tenant).await?;
    Ok(Usage { stored: u64::try_from(stored).unwrap_or_default(), quota: quota(app) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_what_is_left_of_the_quota() {
        let usage = |stored, quota| Usage { stored, quota };
        assert_eq!(usage(3, None).room(), u64::MAX);
        assert_eq!((usage(3, Some(10)).room(), usage(12, Some(10)).room()), (7, 0));
        assert!(usage(3, Some(10)).check(7).is_ok() && usage(u64::MAX, None).check(1).is_ok());
        assert!(matches!(usage(3, Some(10)).check(8), Err(Error::QuotaExceeded { limit: 10 })));
        // A quota that was lowered below what is stored.
        assert!(usage(12, Some(10)).check(0).is_ok());
    }
}
