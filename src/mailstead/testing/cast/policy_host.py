"""A web server with one page: a domain's MTA-STS policy, or what stands in its place."""

import ssl

from mailstead.model.world import Stream
from mailstead.net.tls import TlsError, TlsStream


class PolicyHost:
    """The server; `serve` is for SimulatedNetwork.listen at port 443."""

    def __init__(self, tls: ssl.SSLContext, policy: str) -> None:
        self.tls, self.policy = tls, policy
        self.status, self.content_type = "200 OK", "text/plain; charset=utf-8"
        self.asked: list[str] = []  # request lines

    async def serve(self, stream: Stream) -> None:
        """One request."""
        secured = TlsStream(stream, self.tls, server_side=True)
        try:
            await secured.handshake()
        except TlsError:
            return
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += await secured.receive() or b""
        self.asked.append(request.partition(b"\r\n")[0].decode("ascii"))
        body = self.policy.encode()
        head = (
            f"HTTP/1.1 {self.status}\r\nContent-Type: {self.content_type}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        secured.send(head.encode("ascii") + body)
        await secured.close()
