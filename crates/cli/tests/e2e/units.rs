//! The systemd unit, and what the program says to the service manager.

use crate::harness::{World, signal, until};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};

const UNITS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/systemd");

fn unit(name: &str) -> String {
    fs::read_to_string(Path::new(UNITS).join(name)).unwrap()
}

/// The values of a directive, in order; an empty one takes back those before it.
fn values(unit: &str, section: &str, directive: &str) -> Vec<String> {
    let mut here = "";
    let mut found = Vec::new();
    for line in unit.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if line.starts_with('[') {
            here = line;
        } else if here == section {
            let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("no directive: {line}"));
            if name == directive {
                found.push(value.to_owned());
            }
        }
    }
    found
}

#[test]
fn unit_keeps_secrets_in_memory_and_the_service_in_its_folder() {
    let unit = unit("keyferry.service");
    let wanted = [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("Restart", "on-failure"),
        ("User", "keyferry"),
        ("StateDirectory", "keyferry"),
        ("UMask", "0077"),
        ("LimitCORE", "0"),
        ("LimitMEMLOCK", "infinity"),
        ("MemorySwapMax", "0"),
        ("NoNewPrivileges", "yes"),
        ("CapabilityBoundingSet", ""),
        ("ProtectSystem", "strict"),
        ("ReadWritePaths", "/var/lib/keyferry"),
        ("ProtectHome", "yes"),
        ("PrivateTmp", "yes"),
        ("PrivateDevices", "yes"),
        ("MemoryDenyWriteExecute", "yes"),
        ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
        ("SystemCallArchitectures", "native"),
    ];
    for (directive, value) in wanted {
        assert_eq!(values(&unit, "[Service]", directive), [value], "{directive}");
    }
    let start = values(&unit, "[Service]", "ExecStart");
    assert_eq!(start, ["/usr/bin/keyferry up --data /var/lib/keyferry $KEYFERRY_UP"]);
    // What it starts is a command line that this program has.
    let help = crate::harness::keyferry(&["help", "up"]);
    assert!(help.out.contains("--data"), "{help}");
}

#[test]
fn back_up_unit_gives_a_command_that_this_program_has() {
    let unit = unit("keyferry-backup.service");
    let start = values(&unit, "[Service]", "ExecStart").concat();
    let backup = "/usr/bin/keyferry backup --data /var/lib/keyferry --to \"/var/backups/keyferry/";
    assert!(start.contains(backup), "{start}");
    assert!(crate::harness::keyferry(&["help", "backup"]).out.contains("--to"));
    for (directive, value) in [("User", "keyferry"), ("LimitCORE", "0"), ("NoNewPrivileges", "yes")] {
        assert_eq!(values(&unit, "[Service]", directive), [value], "{directive}");
    }
}

#[test]
fn systemd_itself_finds_nothing_wrong_with_the_units_where_it_is_installed() {
    let world = World::new();
    let names = ["keyferry.service", "keyferry-backup.service", "keyferry-backup.timer"];
    let files = names.map(|name| {
        let text = unit(name).replace("/usr/bin/keyferry", env!("CARGO_BIN_EXE_keyferry"));
        world.file(name, text)
    });
    let Ok(verified) = Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&files).output()
    else {
        // Then the directives themselves must do, which the tests before this one read.
        assert!(names.iter().all(|name| unit(name).contains("[Unit]")));
        return;
    };
    // Whatever it says of the machine that it runs on, it says nothing of these units.
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && !said.contains("keyferry"), "{said}");
}

#[test]
fn service_manager_hears_when_it_serves_and_when_it_stops() {
    let world = World::new();
    let path = world.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    assert_tells(&world, path.as_os_str().to_str().unwrap(), &socket);
}

#[cfg(target_os = "linux")]
#[test]
fn service_manager_with_an_abstract_socket_hears_it_too() {
    use std::os::linux::net::SocketAddrExt as _;
    let world = World::new();
    let name = format!("keyferry-test-{}", world.root().display());
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let socket = UnixDatagram::bind_addr(&address).unwrap();
    socket.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
    assert_tells(&world, &format!("@{name}"), &socket);
}

fn assert_tells(world: &World, address: &str, socket: &UnixDatagram) {
    let hear = || {
        let mut buffer = [0; 256];
        let len = socket.recv(&mut buffer).expect("a word from the service");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    };
    let mut child = up(&world.data(), address);
    assert_eq!(hear(), "READY=1");
    // A reload without TLS files is no end.
    signal(child.id(), "HUP");
    signal(child.id(), "TERM");
    assert_eq!(hear(), "STOPPING=1");
    let status = until("its end", || child.try_wait().unwrap());
    assert_eq!(status.code(), Some(0));
}

fn up(data: &Path, address: &str) -> std::process::Child {
    Command::new(env!("CARGO_BIN_EXE_keyferry"))
        .args(["up", "--json", "--listen", "127.0.0.1:0", "--shards", "1", "--data"])
        .arg(data)
        .env("NOTIFY_SOCKET", address)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
