//! A folder of a test's own.

use super::{Service, traces};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

pub(crate) struct World {
    folder: TempDir,
}

impl World {
    pub(crate) fn new() -> World {
        World { folder: TempDir::with_prefix("keyferry-e2e-").unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The service's data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.path("data")
    }

    /// A file for its owner's eyes alone.
    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.path(name);
        traces::declare(&format!("private file {name}"), content.as_ref());
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    #[track_caller]
    pub(crate) fn service(&self) -> Service {
        Service::start(&self.data(), &[])
    }

    pub(crate) fn root(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let files = std::fs::read_dir(self.root()).into_iter().flatten().flatten();
        for path in files.map(|file| file.path()).filter(|path| path.is_file()) {
            let log = path.extension().is_some_and(|extension| extension == "log");
            if let Some(said) = log.then(|| std::fs::read(&path).ok()).flatten() {
                traces::keep("service", &said);
            }
        }
    }
}
