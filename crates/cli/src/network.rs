//! Networks of our own: parties in namespaces that nobody else sees, and paths between them.

mod host;
mod path;

pub(crate) use host::{DEVICE, Host};
pub(crate) use path::Path;
