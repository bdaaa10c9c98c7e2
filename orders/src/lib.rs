//! Orders: work with an id that passes through a list of services.
//!
//! What is decided is pure: the shapes of messages, lists of tasks and their conditions, and the book of all orders.
//! What is kept is a log of records, committed in groups, and a store of rows that is built from it. ε-CON puts both
//! together, hands tasks out and answers clients.

mod address;
pub mod body;
pub mod book;
pub mod bounds;
pub mod condition;
pub mod contract;
pub mod fault;
pub mod json;
pub mod log;
pub mod message;
pub mod pointer;
pub mod record;
pub mod service;
pub mod stages;
pub mod store;
pub mod submission;
pub mod tasks;
pub mod view;
pub mod words;
