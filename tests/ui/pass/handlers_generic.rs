use countersign::{WebhookEvent, handlers};

mod events {
    #[derive(countersign::WebhookEvent)]
    pub enum Event {
        #[event("a")]
        A(u8),
        #[event("b")]
        B,
    }
}

trait Db {
    fn save(&self, id: u8);
}

struct Compliance<'a, D: ?Sized, const N: usize>(&'a D);

// A path for the enum, lifetimes, constants, and a `where` clause.
#[handlers(events::Event)]
impl<D, const N: usize> Compliance<'static, D, N>
where
    D: Db + Sync + ?Sized,
{
    #[on(A)]
    async fn a(&self, id: u8) {
        self.0.save(id);
    }

    #[on(B)]
    async fn b(&self) {
        self.0.save(N as u8);
    }
}

// The same names as in the expansion.
#[allow(non_upper_case_globals)]
const event: u8 = 1;
#[allow(non_upper_case_globals)]
const delivery: u8 = 2;

fn main() {
    assert_eq!(event + delivery, 3);
    assert_eq!(events::Event::VARIANTS.len(), 2);
}
