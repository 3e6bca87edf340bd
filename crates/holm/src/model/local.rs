//! The nouns of the door by which programs on the server's machine come to files without the network.

use super::as_text;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeSet;
use std::path::PathBuf;
use utoipa::ToSchema;

/// Who may open files of a namespace past the network, being on the same machine. It is off unless
/// users are named: what a program was given it can't be made to give back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LocalSpec {
    /// Numbers of users whose programs may. With none there is no door.
    #[serde(default)]
    pub users: BTreeSet<u32>,
    /// The unix socket that is the door; absolute. By default `local/NAME.sock` beside the admin socket.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "as_text_if_any")]
    #[schema(value_type = Option<String>, examples("/run/holm/local/blue.sock"))]
    pub socket: Option<PathBuf>,
    /// Seconds that a program has to give back its files when it is asked to. Then it is cut off.
    #[serde(default = "recall_time")]
    #[schema(minimum = 1, maximum = 3600)]
    pub recall_time: u32,
}

impl Default for LocalSpec {
    fn default() -> Self {
        Self { users: BTreeSet::new(), socket: None, recall_time: recall_time() }
    }
}

impl LocalSpec {
    /// Whether there is a door.
    pub fn is_on(&self) -> bool {
        !self.users.is_empty()
    }

    /// Changed so.
    #[must_use]
    pub fn patched(&self, patch: &LocalPatch) -> Self {
        let stays = self.users.difference(&patch.del_users).copied();
        Self {
            users: stays.chain(patch.add_users.iter().copied()).collect(),
            socket: patch.socket.clone().or_else(|| self.socket.clone()),
            recall_time: patch.recall_time.unwrap_or(self.recall_time),
        }
    }
}

/// A change of a [`LocalSpec`]; what is not said stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LocalPatch {
    /// Users who may from now on.
    #[serde(default)]
    pub add_users: BTreeSet<u32>,
    /// Users who may not any more; their programs are asked for their files.
    #[serde(default)]
    pub del_users: BTreeSet<u32>,
    /// Another socket.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "as_text_if_any")]
    #[schema(value_type = Option<String>)]
    pub socket: Option<PathBuf>,
    /// Another time to give files back, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 3600)]
    pub recall_time: Option<u32>,
}

/// The door of a namespace, as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LocalView {
    /// As it was asked for.
    #[serde(flatten)]
    pub spec: LocalSpec,
    /// Where the door is, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "as_text_if_any")]
    #[schema(value_type = Option<String>)]
    pub door: Option<PathBuf>,
    /// What stands in its way, so that few files are handed out and the others go by the network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lacks: Option<String>,
    /// Who has come by it and not gone, the oldest first.
    pub clients: Vec<LocalClientView>,
}

/// A program that has come by the door.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub struct LocalClientView {
    /// The number of its process when it came; none if that is in no pid namespace that the server sees.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Its user.
    pub uid: u32,
    /// The address of the NFS connection over which it has proved to be here; none before that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Files that it has open.
    pub files: usize,
    /// For how long it has had the oldest of them, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<f64>,
    /// When it came, in milliseconds since 1970.
    pub since: u64,
    /// How long ago it was asked to give back files that it still has, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recalled: Option<f64>,
}

/// Seconds to give files back if nothing is said.
const fn recall_time() -> u32 {
    5
}

fn as_text_if_any<S: Serializer>(path: &Option<PathBuf>, serializer: S) -> Result<S::Ok, S::Error> {
    match path {
        Some(path) => as_text(path, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_changes_what_it_says_and_nothing_else() {
        let before = LocalSpec { users: [0, 7].into(), socket: Some("/a".into()), recall_time: 9 };
        let patch = LocalPatch {
            add_users: [1, 2].into(),
            del_users: [7, 8].into(),
            ..LocalPatch::default()
        };
        let after = before.patched(&patch);
        assert_eq!(after, LocalSpec { users: [0, 1, 2].into(), ..before.clone() });
        let patch =
            LocalPatch { socket: Some("/b".into()), recall_time: Some(1), ..LocalPatch::default() };
        let expected = LocalSpec { socket: Some("/b".into()), recall_time: 1, ..before.clone() };
        assert_eq!(before.patched(&patch), expected);
        assert!(!LocalSpec::default().is_on());
    }
}
