//! Replicas.

use super::timestamp;
use crate::desk::diagnosis::Diagnosis;
use crate::desk::replicas::Report;
use crate::domain::finding::{Finding, Severity};
use crate::proto::v1 as proto;
use crate::replica::Status;
use crate::store::ReplicaRow;
use std::time::Duration;

/// A replica as others see it.
pub(in crate::grpc) fn replica_out(row: ReplicaRow) -> proto::Replica {
    let ReplicaRow { id, is_fencing, address, applied, lease } = row;
    let state = if is_fencing { proto::ReplicaState::Fencing } else { proto::ReplicaState::Active };
    proto::Replica {
        id,
        state: state.into(),
        address,
        // One that has loaded nothing yet has confirmed nothing.
        applied_revision: applied.max(0),
        lease_duration: Some(duration_out(lease)),
    }
}

/// How the answering replica is, as others see it.
pub(in crate::grpc) fn status_out(report: Report) -> proto::GetStatusResponse {
    let Report { status, engine } = report;
    let Status {
        replica_id,
        head,
        applied,
        floor,
        cluster_id,
        lease,
        lease_remaining,
        lease_age: _,
        // Whoever refuses the ledger admits nobody who could ask.
        refused: _,
        waiting,
        outstanding,
    } = status;
    proto::GetStatusResponse {
        revision: head,
        applied_revision: applied,
        floor_revision: floor,
        cluster_id,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        database_engine: engine.to_owned(),
        lease_duration: Some(duration_out(lease)),
        lease_remaining: Some(duration_out(lease_remaining)),
        replica_id,
        waiting_mutations: count_out(waiting),
        outstanding_replicas: count_out(outstanding),
    }
}

/// What a replica found.
pub(in crate::grpc) fn diagnosis_out(diagnosis: Diagnosis) -> proto::DiagnoseResponse {
    let Diagnosis { findings, time, replica_id } = diagnosis;
    proto::DiagnoseResponse {
        findings: findings.into_iter().map(finding_out).collect(),
        time: Some(timestamp(time)),
        replica_id,
    }
}

fn finding_out(finding: Finding) -> proto::Finding {
    let Finding { check, severity, description, remedy } = finding;
    let severity = match severity {
        Severity::Fine => proto::FindingSeverity::Fine,
        Severity::Warning => proto::FindingSeverity::Warning,
        Severity::Problem => proto::FindingSeverity::Problem,
    };
    proto::Finding { check, severity: severity.into(), description, remedy }
}

fn duration_out(span: Duration) -> prost_types::Duration {
    prost_types::Duration::try_from(span).unwrap_or_default()
}

fn count_out(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
