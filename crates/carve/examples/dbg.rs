fn main() {
    let bytes = std::fs::read(std::env::args().nth(1).unwrap()).unwrap();
    let carved = carve::carve(&evidence::view::Memory::new(bytes), &[], &|_| ());
    eprintln!("{:?} {} messages, unclaimed {}", carved.grid, carved.messages.len(), carved.unclaimed);
    for m in carved.messages {
        println!("{:?}", m);
    }
}
