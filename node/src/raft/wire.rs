//! What the RPC `Raft` carries: the kinds of request, and openraft's messages as bytes.

use bytes::Bytes;
use mainstay_proto::internal::v1::{RaftRequest, RaftResponse};
use serde::{Serialize, de::DeserializeOwned};
use tonic::Status;

use super::{codec, types::NodeId};

/// The one group; the number is in the format so that there can be more.
pub(super) const GROUP: u32 = 0;

/// What a request is. The numbers are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Kind {
    Append = 1,
    Vote = 2,
    PreVote = 3,
    TransferLeader = 4,
}

impl Kind {
    pub(super) fn of(request: &RaftRequest) -> Result<Self, Status> {
        match request.kind {
            1 => Ok(Self::Append),
            2 => Ok(Self::Vote),
            3 => Ok(Self::PreVote),
            4 => Ok(Self::TransferLeader),
            _ => Err(Status::unimplemented("the kind of raft request is unknown")),
        }
    }
}

pub(super) fn request<T: Serialize>(
    (from, to): (NodeId, NodeId),
    kind: Kind,
    message: &T,
) -> Result<RaftRequest, Status> {
    Ok(RaftRequest {
        group: GROUP,
        from,
        to,
        kind: kind as u32,
        body: encode(message)?,
    })
}

pub(super) fn response<T: Serialize>(message: &T) -> Result<RaftResponse, Status> {
    Ok(RaftResponse {
        body: encode(message)?,
    })
}

pub(super) fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, Status> {
    codec::decode(body).map_err(|_| Status::invalid_argument("the raft message is malformed"))
}

fn encode<T: Serialize>(message: &T) -> Result<Bytes, Status> {
    codec::encode(message).map_err(|_| Status::internal("the raft message cannot be encoded"))
}
