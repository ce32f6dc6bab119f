//! An S3 server: moto. It looks whether a name is free and then takes it, with nothing to keep two
//! creators apart: whoever tests a race asks it through [`S3::one_put_at_a_time`].

use std::net::SocketAddr;
use std::process::Command;

use kamba_vault::storage::{Options, Settings};

use super::proxy::{Fate, Proxy};
use super::{Server, request};

/// A running S3 server with one bucket.
pub struct S3 {
    pub server: Server,
}

pub const BUCKET: &str = "vault";

impl S3 {
    pub fn start() -> Self {
        let server = Server::start(|port, _| {
            let mut command = Command::new("moto_server");
            command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
            command
        });
        let (status, answer) = request(server.address, "PUT", &format!("/{BUCKET}"));
        assert_eq!(status, 200, "no bucket: {answer}");
        S3 { server }
    }

    /// The URL of a folder in the bucket.
    pub fn url(&self, folder: &str) -> String {
        format!("s3://{BUCKET}/{folder}")
    }

    pub fn options(&self) -> Options {
        options_at(self.server.address)
    }

    /// A proxy before the server that makes creations as exclusive as those of a real service.
    pub fn one_put_at_a_time(&self) -> Proxy {
        Proxy::start(self.server.address, |method, _| match method {
            "PUT" => Fate::Alone,
            _ => Fate::Pass,
        })
    }
}

/// Options for an S3 server, or a proxy before one, at `address`.
pub fn options_at(address: SocketAddr) -> Options {
    let mut settings = Settings::new();
    settings.set("endpoint", format!("http://{address}"));
    settings.set("region", "us-east-1");
    settings.set("access_key_id", "AKIDEXAMPLE");
    settings.set("secret_access_key", "wJalrXUtnFEMIsecret");
    Options { settings, ..Options::default() }
}
