//! The node's side of the local socket.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use mainstay_core::{
    catalog::{Catalog, Password, Resource},
    ids::{Index, ResourceId},
    replica::{Command, Outcome, Refusal},
};
use mainstay_proto::internal::v1::{
    Member, SeedRequest, SeedResponse, Seeded, StatusRequest, StatusResponse,
    local_server::{Local, LocalServer},
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

use crate::{
    auth, control,
    local::{
        Seed,
        client::{Error as ClientError, socket_path},
        seed::{Account, parse_id},
    },
    raft, random,
};

/// Answers the command line.
#[derive(Clone, Debug)]
pub struct Service {
    /// The node's name.
    pub name: Arc<str>,
    /// State and commands.
    pub control: control::Handle,
    /// Leader and members.
    pub raft: raft::Handle,
}

/// Binds the socket of a data folder, mode 0600, and returns a future that serves it.
///
/// # Errors
/// If the socket cannot be bound.
pub fn serve(
    data: &Path,
    service: Service,
) -> io::Result<impl Future<Output = Result<(), tonic::transport::Error>> + use<>> {
    let path = socket_path(data);
    if path.as_os_str().len() >= 108 {
        return Err(io::Error::other(ClientError::PathTooLong { path }));
    }
    // The data folder is locked by this process, so a socket that lies there is nobody's.
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(tonic::transport::Server::builder()
        .add_service(LocalServer::new(service))
        .serve_with_incoming(UnixListenerStream::new(listener)))
}

#[tonic::async_trait]
impl Local for Service {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let status = self.raft.status();
        let state = self.control.state();
        let mut members: Vec<Member> = status
            .members
            .iter()
            .map(|member| {
                let node = state.node(member.node);
                let incarnation = node.as_ref().and_then(|node| node.incarnation);
                let applied = if *member.name == *self.name {
                    state.applied()
                } else {
                    node.as_ref()
                        .map_or(Index(0), |node| self.control.reported(node.slot))
                };
                let role = match member.role {
                    _ if status.leader == Some(member.node) => "leader",
                    raft::Role::Voter => "voter",
                    raft::Role::Learner => "learner",
                };
                Member {
                    name: member.name.clone(),
                    id: member.node.0,
                    role: role.into(),
                    state: if incarnation.is_some() { "up" } else { "down" }.into(),
                    incarnation: incarnation.map_or(0, |incarnation| incarnation.0.index().0),
                    applied_index: applied.0,
                }
            })
            .collect();
        members.sort_by(|a, b| a.name.cmp(&b.name));
        let leader = members.iter().find(|member| member.role == "leader");
        Ok(Response::new(StatusResponse {
            cluster_id: self.raft.cluster_id().unwrap_or_default(),
            leader: leader.map(|member| member.name.clone()).unwrap_or_default(),
            node: self.name.to_string(),
            ready: self.control.is_ready(),
            members,
        }))
    }

    async fn seed(&self, request: Request<SeedRequest>) -> Result<Response<SeedResponse>, Status> {
        let seed = Seed::parse(&request.into_inner().toml)
            .map_err(|error| Status::invalid_argument(error.to_string()))?;
        let mut seeded = Vec::new();
        self.apply_seed(&seed, &mut seeded).await?;
        Ok(Response::new(SeedResponse { seeded }))
    }
}

impl Service {
    async fn apply_seed(&self, seed: &Seed, seeded: &mut Vec<Seeded>) -> Result<(), Status> {
        let state = self
            .control
            .linearizable_state()
            .await
            .map_err(unavailable)?;
        let catalog = state.catalog();
        let given = id_of("folder", "", seed.folder.as_deref())?;
        let folder = match given.or_else(|| first_folder(catalog)) {
            Some(folder) => folder,
            None => new_id()?,
        };
        self.create("folder", "", Resource::Folder { id: folder }, seeded)
            .await?;
        for registry in &seed.registry {
            let known = catalog.registry_named(folder, &registry.name);
            let id = choose("registry", &registry.name, registry.id.as_deref(), known)?;
            let make = |passwords| Resource::Registry {
                id,
                folder,
                name: registry.name.as_str().into(),
                passwords,
            };
            let password = registry.password.as_deref();
            let plan = Plan {
                kind: "registry",
                name: &registry.name,
                id,
                password,
            };
            self.create_account(catalog, plan, make, seeded).await?;
            for Account {
                id: given,
                name,
                password,
            } in &registry.device
            {
                let known = catalog.device_named(id, name);
                let device = choose("device", name, given.as_deref(), known)?;
                let make = |passwords| Resource::Device {
                    id: device,
                    registry: id,
                    name: name.as_str().into(),
                    passwords,
                };
                let plan = Plan {
                    kind: "device",
                    name,
                    id: device,
                    password: password.as_deref(),
                };
                self.create_account(catalog, plan, make, seeded).await?;
            }
        }
        for Account {
            id: given,
            name,
            password,
        } in &seed.broker
        {
            let known = catalog.broker_named(folder, name);
            let id = choose("broker", name, given.as_deref(), known)?;
            let make = |passwords| Resource::Broker {
                id,
                folder,
                name: name.as_str().into(),
                passwords,
            };
            let plan = Plan {
                kind: "broker",
                name,
                id,
                password: password.as_deref(),
            };
            self.create_account(catalog, plan, make, seeded).await?;
        }
        Ok(())
    }

    async fn create_account(
        &self,
        catalog: &Catalog,
        plan: Plan<'_>,
        make: impl FnOnce(Vec<Password>) -> Resource,
        seeded: &mut Vec<Seeded>,
    ) -> Result<(), Status> {
        let mut passwords = Vec::new();
        // What is there already keeps its credentials; hashing for it would only cost time.
        if let (Some(password), None) = (plan.password, catalog.login(&plan.id)) {
            passwords.push(Password {
                id: new_id()?,
                phc: hash(password).await?,
            });
        }
        self.create(plan.kind, plan.name, make(passwords), seeded)
            .await
    }

    async fn create(
        &self,
        kind: &str,
        name: &str,
        resource: Resource,
        seeded: &mut Vec<Seeded>,
    ) -> Result<(), Status> {
        let (Resource::Folder { id }
        | Resource::Registry { id, .. }
        | Resource::Device { id, .. }
        | Resource::Broker { id, .. }) = &resource;
        let id = id.to_string();
        let outcome = self
            .control
            .propose(Command::Create(resource))
            .await
            .map_err(unavailable)?;
        let created = match outcome {
            Outcome::Done(_) => true,
            Outcome::Unchanged => false,
            Outcome::Refused(refusal) => {
                let message = format!("{kind} {name:?} with ID {id}: {refusal}");
                return Err(match refusal {
                    Refusal::IdTaken | Refusal::NameTaken => Status::already_exists(message),
                    _ => Status::failed_precondition(message),
                });
            }
        };
        seeded.push(Seeded {
            kind: kind.into(),
            name: name.into(),
            id,
            created,
        });
        Ok(())
    }
}

fn first_folder(catalog: &Catalog) -> Option<ResourceId> {
    catalog.iter().find_map(|resource| match resource {
        Resource::Folder { id } => Some(*id),
        _ => None,
    })
}

/// Hashed before anything is proposed or logged.
async fn hash(password: &str) -> Result<Arc<str>, Status> {
    let password = password.to_owned();
    let hashed = tokio::task::spawn_blocking(move || auth::hash_password(password.as_bytes()));
    match hashed.await {
        Ok(Ok(phc)) => Ok(phc.into()),
        Ok(Err(error)) => Err(Status::internal(error.to_string())),
        Err(error) => Err(Status::internal(error.to_string())),
    }
}

struct Plan<'a> {
    kind: &'static str,
    name: &'a str,
    id: ResourceId,
    password: Option<&'a str>,
}

/// The given ID, else that of the resource that has the name, else a new one.
fn choose(
    kind: &'static str,
    name: &str,
    given: Option<&str>,
    known: Option<ResourceId>,
) -> Result<ResourceId, Status> {
    match id_of(kind, name, given)?.or(known) {
        Some(id) => Ok(id),
        None => new_id(),
    }
}

fn id_of(
    kind: &'static str,
    name: &str,
    given: Option<&str>,
) -> Result<Option<ResourceId>, Status> {
    parse_id(kind, name, given).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn new_id() -> Result<ResourceId, Status> {
    random::resource_id().map_err(|error| Status::internal(error.to_string()))
}

fn unavailable(error: control::Unavailable) -> Status {
    Status::unavailable(error.to_string())
}
