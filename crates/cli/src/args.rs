//! The command line: names, inputs and documents that scripts rely on (README, "Commands").

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(
    name = "keyferry",
    version,
    about = "Passkeys that follow their owner to every device, through a service that cannot use them",
    disable_help_subcommand = true,
    after_help = "Exit status: 0 done, 1 fault (unreachable, internal), 2 usage, 3 refused.\n\
                  A refusal is one JSON object on the last line of stderr: {\"error\",\"message\",\"name\",\"left\"}."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,

    /// Print one JSON document on stdout and nothing else.
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// The whole story in a terminal: service, laptop, phone, ten wrong PINs, audit; everything a stand-in.
    Try(Try),
    /// Run all roles in one go on a data folder, until SIGTERM.
    Up(Up),
    /// Accounts of a deployment.
    #[command(subcommand)]
    Account(Account),
    /// Devices of an account: enrol the first, join the others by the PIN.
    #[command(subcommand)]
    Device(Device),
    /// Create, use and manage passkeys.
    #[command(subcommand)]
    Passkey(Passkey),
    /// Fetch what changed since the last time, and verify it.
    Sync(Sync),
    /// The account's PIN.
    #[command(subcommand)]
    Pin(Pin),
    /// Fetch and verify the account's whole ledger, entry by entry.
    Audit(Home),
    /// Show what happens in the account as it happens: each ledger entry, verified before it is shown.
    Watch(Watch),
    /// Evidence of the enclave.
    #[command(subcommand)]
    Attest(Attest),
    /// Check this machine, a home, a data folder and a service, and say what to do. Changes nothing.
    Doctor(Doctor),
    /// Copy a data folder's store and ledger into a new folder while the service runs.
    Backup(Backup),
    /// Put a back-up into an empty data folder.
    Restore(Restore),
    /// The files of a data folder.
    #[command(subcommand)]
    Data(Data),
    /// Print the completions for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Print the manual page, or write a page for each command.
    Man {
        /// Write keyferry.1 and a page for each command into this folder; it is made if it is missing.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Help for a command.
    Help(Help),
    /// The enclave as a stand-in role of this program: evidence of kind `sim`, for try and development.
    #[command(hide = true)]
    EnclaveStandIn,
}

#[derive(Args)]
pub(crate) struct Try {
    /// Keep the data folder and the homes here instead of in a temporary folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
    /// The enclave's program; else the one beside this program, else this program itself as a stand-in.
    #[arg(long, value_name = "PATH")]
    pub(crate) enclave: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Up {
    /// Data folder: store/, ledger/, token/ and run/ are made in it.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Address to serve on; port 0 picks a free one. Without certificate only loopback is allowed.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7420")]
    pub(crate) listen: std::net::SocketAddr,
    /// Certificate chain in PEM; with --tls-key the service speaks TLS 1.3.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Name of the deployment; its logs are NAME/0, NAME/1, ... Fixed when the data folder is made.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// Number of shards, 1 to 256. Fixed when the data folder is made.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) shards: Option<u16>,
    /// Requests a second that one address may make (sessions: a tenth of it).
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) rate: u32,
    /// The enclave's program; else the one beside this program, else this program itself as a stand-in.
    #[arg(long, value_name = "PATH")]
    pub(crate) enclave: Option<PathBuf>,
}

/// A service and how to believe its TLS certificate.
#[derive(Args)]
pub(crate) struct Server {
    /// Address of the service, for example https://keys.example.org.
    #[arg(long, value_name = "URL")]
    pub(crate) server: String,
    #[command(flatten)]
    pub(crate) ca: Ca,
}

#[derive(Args)]
pub(crate) struct Ca {
    /// Certificates in PEM that are believed besides the public ones.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

/// Whom the password belongs to.
#[derive(Args)]
pub(crate) struct Identity {
    /// Name of the account.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,
    /// File with the account's password ("-" for stdin); without it the terminal asks.
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Evidence {
    /// Trust evidence of this stand-in kind by name ("sim"): it protects nothing from the service's host.
    #[arg(long, value_name = "KIND")]
    pub(crate) accept_evidence: Vec<String>,
    /// Trust file with the log's key and measurements; without it the first ones seen are pinned.
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,
}

/// A home of a device that is a member.
#[derive(Args)]
pub(crate) struct Home {
    /// Folder with this device's keys and state.
    #[arg(long, value_name = "DIR")]
    pub(crate) home: PathBuf,
    #[command(flatten)]
    pub(crate) ca: Ca,
}

#[derive(Args)]
pub(crate) struct Sync {
    #[command(flatten)]
    pub(crate) home: Home,
    /// Stay, and say each time that something has changed; with --json a document a line.
    #[arg(long)]
    pub(crate) follow: bool,
    /// End after so many changes.
    #[arg(long, value_name = "N", requires = "follow", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
}

#[derive(Args)]
pub(crate) struct Watch {
    #[command(flatten)]
    pub(crate) home: Home,
    /// Show the whole history first.
    #[arg(long, conflicts_with = "since")]
    pub(crate) from_start: bool,
    /// Show the entries after this number first.
    #[arg(long, value_name = "SEQ")]
    pub(crate) since: Option<u64>,
    /// End after so many entries.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// End after so many seconds; with status 1, if --count was not reached.
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) timeout: Option<u64>,
}

#[derive(Subcommand)]
pub(crate) enum Account {
    /// Create an account with a name and a password.
    Create {
        #[command(flatten)]
        server: Server,
        #[command(flatten)]
        identity: Identity,
        #[command(flatten)]
        evidence: Evidence,
    },
}

#[derive(Args)]
pub(crate) struct Register {
    /// Folder for this device's keys and state; made if it is missing.
    #[arg(long, value_name = "DIR")]
    pub(crate) home: PathBuf,
    #[command(flatten)]
    pub(crate) server: Server,
    #[command(flatten)]
    pub(crate) identity: Identity,
    /// File with the account's PIN: set by enrol, proved by join.
    #[arg(long, value_name = "FILE")]
    pub(crate) pin_file: Option<PathBuf>,
    /// File with the PIN of this device, which guards its key for user verification; without it the device has none.
    #[arg(long, value_name = "FILE")]
    pub(crate) device_pin_file: Option<PathBuf>,
    /// What the device is called in lists.
    #[arg(long, value_name = "LABEL")]
    pub(crate) label: Option<String>,
    #[command(flatten)]
    pub(crate) evidence: Evidence,
}

#[derive(Subcommand)]
pub(crate) enum Device {
    /// Make this the account's first device, and set the account's PIN.
    Enrol(Register),
    /// Make this a further device of the account, with the account's PIN.
    Join(Register),
    /// List the account's devices.
    List(Home),
    /// Give a device another label.
    Rename {
        #[command(flatten)]
        home: Home,
        /// The device, as the list names it; this one if left out.
        #[arg(long, value_name = "ID", allow_hyphen_values = true)]
        device: Option<String>,
        /// The new label.
        #[arg(long, value_name = "LABEL")]
        label: String,
    },
}

#[derive(Args)]
pub(crate) struct Ceremony {
    #[command(flatten)]
    pub(crate) home: Home,
    /// Origin of the page that asks, for example https://example.org.
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) origin: String,
    /// WebAuthn options in JSON; stdin if left out.
    #[arg(long, value_name = "FILE")]
    pub(crate) options: Option<PathBuf>,
    /// File with the PIN of this device: shows user verification.
    #[arg(long, value_name = "FILE")]
    pub(crate) device_pin_file: Option<PathBuf>,
    /// Hand the enclave the hash of the client data alone, as platforms do that do not pass it on.
    #[arg(long)]
    pub(crate) hash_only: bool,
}

#[derive(Args)]
pub(crate) struct OnePasskey {
    #[command(flatten)]
    pub(crate) home: Home,
    /// The passkey, as the list names it.
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub(crate) id: String,
}

#[derive(Subcommand)]
pub(crate) enum Passkey {
    /// Create a passkey for WebAuthn creation options; prints the credential.
    Create(Ceremony),
    /// Sign in with WebAuthn request options; prints the credential.
    Get(Ceremony),
    /// List the account's passkeys.
    List(Home),
    /// Change the name that is shown for a passkey.
    Rename {
        #[command(flatten)]
        passkey: OnePasskey,
        /// The new user name.
        #[arg(long, value_name = "NAME")]
        user_name: String,
        /// The new display name; the user name if left out.
        #[arg(long, value_name = "NAME")]
        display_name: Option<String>,
    },
    /// Delete a passkey on all devices.
    Delete(OnePasskey),
}

#[derive(Subcommand)]
pub(crate) enum Pin {
    /// How many tries are left.
    Status(Home),
    /// Set another PIN, with the present one or with user verification on this device.
    Change {
        #[command(flatten)]
        home: Home,
        /// File with the present PIN.
        #[arg(long, value_name = "FILE")]
        pin_file: Option<PathBuf>,
        /// File with the new PIN.
        #[arg(long, value_name = "FILE")]
        new_pin_file: Option<PathBuf>,
        /// File with the PIN of this device: stands for the present PIN.
        #[arg(long, value_name = "FILE")]
        device_pin_file: Option<PathBuf>,
    },
}

#[derive(Subcommand)]
pub(crate) enum Attest {
    /// Fetch the enclave's evidence, verify it and show it.
    Show(Home),
}

#[derive(Args)]
pub(crate) struct Doctor {
    /// Look at this device's home, and at the service that it belongs to.
    #[arg(long, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Look at this data folder; a service may run on it.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Look at this service instead of the home's own.
    #[arg(long, value_name = "URL")]
    pub(crate) server: Option<String>,
    #[command(flatten)]
    pub(crate) ca: Ca,
    /// Certificate chain in PEM, as a service is given it.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Backup {
    /// The data folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The back-up: a folder that does not exist yet, or is empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) to: PathBuf,
    /// Put the software token into it, too: whoever gets such a back-up has every passkey in it.
    #[arg(long)]
    pub(crate) with_token: bool,
}

#[derive(Args)]
pub(crate) struct Restore {
    /// The back-up.
    #[arg(long, value_name = "DIR")]
    pub(crate) from: PathBuf,
    /// The data folder: one that does not exist yet, or is empty.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
}

#[derive(Subcommand)]
pub(crate) enum Data {
    /// Bring a store of an earlier version to this one's schema, as `up` does at its start.
    Upgrade {
        /// The data folder.
        #[arg(long, value_name = "DIR")]
        data: PathBuf,
        /// Say what would be done, and do nothing.
        #[arg(long)]
        check: bool,
    },
}

#[derive(Args)]
pub(crate) struct Help {
    /// Print every command and flag, one a line.
    #[arg(long, hide = true)]
    pub(crate) tree: bool,
    /// The command to explain.
    pub(crate) path: Vec<String>,
}
