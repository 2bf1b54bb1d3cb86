//! What the wiring knows of a deployment, for whoever looks for what is wrong with it.

use super::listen::Listeners;
use crate::config::{Address, CheckAuth, Config, MailRoute};
use crate::desk::diagnosis::Deployment;
use crate::domain::finding::{Door, Exposure};

/// What whoever asks for a diagnosis cannot see otherwise; the addresses are those that were bound.
pub(super) fn of(
    config: &Config,
    listeners: &Listeners,
    [data_addr, admin_addr, ops_addr]: [&Address; 3],
    has_master_key: bool,
) -> Deployment {
    let transport = &config.transport;
    let data_door = match config.check_auth {
        None | Some(CheckAuth::None) => Door::OpenData,
        Some(CheckAuth::Bearer | CheckAuth::Mtls) => Door::GuardedData,
    };
    let exposure = |door, address: &Address, has_tls| Exposure {
        door,
        address: address.to_string(),
        is_local: address.is_local(),
        has_tls,
    };
    Deployment {
        exposures: vec![
            exposure(data_door, data_addr, transport.data_tls.is_some()),
            exposure(Door::Admin, admin_addr, transport.admin_tls.is_some()),
            exposure(Door::Ops, ops_addr, transport.ops_tls.is_some()),
        ],
        certificates: Box::new(listeners.certificates()),
        refused_files: Box::new(listeners.refused_files()),
        mail_folder: match &config.mail.route {
            MailRoute::Folder(folder) => Some(folder.display().to_string()),
            MailRoute::Smtp(_) => None,
        },
        has_master_key,
    }
}
