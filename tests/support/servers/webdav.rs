//! A WebDAV server: wsgidav.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use kamba_vault::storage::Options;

use super::Server;

/// A running WebDAV server with one user.
pub struct Webdav {
    pub server: Server,
}

pub const USER: &str = "vault";
pub const PASSWORD: &str = "correct-horse";

impl Webdav {
    pub fn start() -> Self {
        let server = Server::start(|port, folder| {
            let root = folder.join("root");
            fs::create_dir(&root).unwrap();
            let config = folder.join("wsgidav.json");
            let text = format!(
                r#"{{"host": "127.0.0.1", "port": {port}, "provider_mapping": {{"/": "{}"}},
                   "simple_dc": {{"user_mapping": {{"*": {{"{USER}": {{"password": "{PASSWORD}"}}}}}}}},
                   "http_authenticator": {{"accept_basic": true, "accept_digest": false, "default_to_digest": false}},
                   "verbose": 1}}"#,
                root.display()
            );
            fs::write(&config, text).unwrap();
            let mut command = Command::new("wsgidav");
            command.arg("--config").arg(config);
            command
        });
        Webdav { server }
    }

    /// The URL of a folder, with the password in it.
    pub fn url(&self, folder: &str) -> String {
        self.url_at(self.server.address, folder)
    }

    /// The same through a proxy at `address`.
    pub fn url_at(&self, address: SocketAddr, folder: &str) -> String {
        format!("webdav://{USER}:{PASSWORD}@{address}/{folder}")
    }

    pub fn options(&self) -> Options {
        Options::default()
    }
}
