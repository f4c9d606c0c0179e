//! WebAuthn Level 3 at the edge of a relying party: options in JSON become checked requests, answers of the enclave
//! become credentials in the `toJSON()` shape. What a browser would refuse is refused here with the same DOMException.

mod client_data;
mod extensions;
mod json;
mod options;
mod response;

pub use client_data::ClientData;
pub use extensions::{CreateExtensions, CreatePrf, GetExtensions, GetLargeBlob, GetPrf};
pub use options::{Allow, CreateRequest, GetRequest};
pub use response::{AuthenticationResponse, RegistrationResponse};

/// What of the client data the enclave is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ClientDataForm {
    /// All that some platforms hand to a provider.
    HashOnly,
    /// The enclave checks type, origin and hash; a policy may demand it.
    #[default]
    WithJson,
}
