//! Any RPC of the contract by its name, with a request written as JSON: what the matrix is made of.

use keyward::proto::FILE_DESCRIPTOR_SET;
use prost::Message as _;
use prost::bytes::{Buf as _, BufMut as _};
use prost_reflect::{DescriptorPool, DynamicMessage};
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// Every method of `keyward.v1`, as `Service/Method`, in the order of the descriptor set.
pub fn methods() -> Vec<String> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let services = pool.services().filter(|service| service.package_name() == "keyward.v1");
    let name =
        |method: prost_reflect::MethodDescriptor| format!("{}/{}", method.parent_service().name(), method.name());
    services.flat_map(|service| service.methods().map(name).collect::<Vec<_>>()).collect()
}

/// The leading verb of a method's name, in lower case.
pub fn verb(method: &str) -> String {
    let name = method.split_once('/').unwrap().1;
    let verb = name.chars().enumerate().take_while(|(place, c)| *place == 0 || !c.is_uppercase());
    verb.map(|(_, c)| c.to_ascii_lowercase()).collect()
}

/// The encoded request of `method` that this JSON describes.
pub fn encoded(method: &str, json: &str) -> Vec<u8> {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let (service, name) = method.split_once('/').unwrap();
    let service = pool.get_service_by_name(&format!("keyward.v1.{service}")).unwrap();
    let method = service.methods().find(|method| method.name() == name).unwrap();
    let mut json = serde_json::Deserializer::from_str(json);
    DynamicMessage::deserialize(method.input(), &mut json).unwrap().encode_to_vec()
}

/// Calls `method` with one request, whether or not it streams, and reads its answer to the end if it has one.
pub async fn call(channel: &Channel, method: &str, request: Vec<u8>, metadata: MetadataMap) -> Result<(), Status> {
    let mut wire = tonic::client::Grpc::new(channel.clone());
    wire.ready().await.unwrap();
    let path = format!("/keyward.v1.{method}").parse().unwrap();
    let mut request = Request::new(tokio_stream::once(request));
    *request.metadata_mut() = metadata;
    let mut answers = wire.streaming(request, path, Bytes).await?.into_inner();
    while method != "EventService/WatchEvents" && answers.message().await?.is_some() {}
    Ok(())
}

#[derive(Clone, Copy)]
struct Bytes;

impl Codec for Bytes {
    type Encode = Vec<u8>;
    type Decode = ();
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Bytes {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Bytes {
    type Item = ();
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<()>, Status> {
        buffer.advance(buffer.remaining());
        Ok(Some(()))
    }
}
