//! Deliveries: from an event to signed requests, their attempts and their retries.
