//! Tests of the public interface: published vectors, independent implementations, random content.

mod checkpoints;
mod map;
mod merkle;
mod notes;
mod support;
mod tiles;
mod vectors;
