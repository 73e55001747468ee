-- A part of a body is loose (a row of `blob`) or packed (a row of `packed`, under the same id: octets
-- of an immutable file). `live` counts the octets of the pack that `packed` refers to.

CREATE TABLE pack (
    id @id,
    size @int NOT NULL,
    live @int NOT NULL,
    created @int NOT NULL
);

CREATE TABLE packed (
    id @id,
    pack @int NOT NULL,
    start @int NOT NULL,
    length @int NOT NULL,
    size @int NOT NULL
);
CREATE INDEX packed_pack ON packed (pack, start);
