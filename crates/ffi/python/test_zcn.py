"""Tests of zcn.py against Python's own sockets: python3 -m unittest, with ZCN_LIBRARY set."""

import asyncio
import os
import socket
import threading
import time
import unittest

import zcn


def descriptors():
    return len(os.listdir("/proc/self/fd"))


def echo(loop, **options):
    server = zcn.Server(loop, address="127.0.0.1", port=0, **options)
    server.on_data = lambda connection, data: connection.send(data)
    server.start()
    return server


def until(loop, done, seconds=20):
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise AssertionError("never")
        loop.poll(timeout=0.1)


class ZcnTest(unittest.TestCase):
    def setUp(self):
        self.before = descriptors()
        self.loop = zcn.Loop(buffers=128)

    def tearDown(self):
        self.loop.close()
        self.assertEqual(descriptors(), self.before)

    def test_echo_for_a_socket_of_python(self):
        message = os.urandom(300_000)
        server = echo(self.loop)
        answer = bytearray()

        def talk():
            with socket.create_connection(server_address) as peer:
                sender = threading.Thread(target=peer.sendall, args=(message,))
                sender.start()
                while len(answer) < len(message):
                    answer.extend(peer.recv(65536))
                sender.join()

        server_address = server.address
        talker = threading.Thread(target=talk)
        talker.start()
        until(self.loop, lambda: not talker.is_alive())
        talker.join()
        self.assertEqual(answer, message)
        self.assertEqual(server.stats["bytes_received"], len(message))
        server.close()

    def test_client_and_server_on_one_loop(self):
        events = []
        server = echo(self.loop)
        client = zcn.Client(self.loop)

        def connected(connection, error):
            self.assertIsNone(error)
            events.append("connected")
            connection.send(b"hello")

        def data(connection, data):
            events.append(data)
            self.assertEqual(connection.peer, server.address)
            connection.close()

        client.on_connect = connected
        client.on_data = data
        client.on_close = lambda _: events.append("closed")
        client.connect("127.0.0.1", server.address.port)
        until(self.loop, lambda: "closed" in events)
        self.assertEqual(events, ["connected", b"hello", "closed"])
        client.close()
        server.close()

    def test_refused_connection_is_an_error(self):
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            port = nobody.getsockname()[1]
        outcomes = []
        client = zcn.Client(self.loop)
        client.on_connect = lambda _, error: outcomes.append(error)
        client.connect("127.0.0.1", port)
        until(self.loop, lambda: outcomes)
        self.assertEqual(outcomes[0].name, "ZCN_ERROR_CONNECT_FAILED")
        self.assertIn(str(port), str(outcomes[0]))

    def test_datagrams(self):
        server = zcn.Udp(self.loop, address="127.0.0.1", timestamps=True)
        server.on_datagram = lambda data, peer, _: server.send(data, peer)
        got = []
        client = zcn.Udp(self.loop, peer_address="127.0.0.1", peer_port=server.address.port)
        client.on_datagram = lambda data, peer, at: got.append((data, peer.port))
        for number in range(10):
            self.assertTrue(client.send(bytes([number]) * number))
        until(self.loop, lambda: len(got) == 10)
        port = server.address.port
        self.assertEqual(sorted(got), [(bytes([n]) * n, port) for n in range(10)])

    def test_an_exception_of_a_callback_is_thrown_by_the_poll(self):
        server = zcn.Server(self.loop, address="127.0.0.1", port=0)

        def fail(connection):
            raise KeyError("mine")

        server.on_accept = fail
        server.start()
        with socket.create_connection(server.address):
            with self.assertRaisesRegex(KeyError, "mine"):
                until(self.loop, lambda: False)

    def test_unknown_option_is_named(self):
        with self.assertRaisesRegex(zcn.Error, "nonsense"):
            zcn.Server(self.loop, nonsense=1)
        with self.assertRaises(zcn.Error) as raised:
            zcn.Loop(backend="stack")
        self.assertEqual(raised.exception.name, "ZCN_ERROR_INVALID_CONFIG")
        self.assertIn("needs a link", str(raised.exception))

    def test_another_thread_is_refused_but_may_wake_up(self):
        server = echo(self.loop)
        raised = []

        def foreign():
            try:
                server.start()
            except zcn.Error as error:
                raised.append(error.name)
            self.loop.wakeup()

        thread = threading.Thread(target=foreign)
        thread.start()
        # Without a time limit: the wake-up ends it.
        self.loop.poll()
        thread.join()
        self.assertEqual(raised, ["ZCN_ERROR_WRONG_THREAD"])

    def test_asyncio(self):
        async def main():
            self.loop.attach()
            server = echo(self.loop)
            reader, writer = await asyncio.open_connection(*server.address)
            for size in (1, 1000, 100_000):
                message = os.urandom(size)
                writer.write(message)
                answer = await asyncio.wait_for(reader.readexactly(size), 20)
                self.assertEqual(answer, message)
            writer.close()
            await writer.wait_closed()

            # And a client of ours against a server of asyncio.
            async def serve(reader, writer):
                writer.write((await reader.readline()).upper())
                writer.close()

            other = await asyncio.start_server(serve, "127.0.0.1", 0)
            port = other.sockets[0].getsockname()[1]
            answer = asyncio.get_running_loop().create_future()
            client = zcn.Client(self.loop)
            client.on_connect = lambda connection, _: connection.send(b"shout\n")
            client.on_data = lambda _, data: answer.set_result(data)
            client.connect("localhost", port)
            self.assertEqual(await asyncio.wait_for(answer, 20), b"SHOUT\n")
            other.close()
            await other.wait_closed()
            self.loop.detach()

        asyncio.run(main())

    def test_asyncio_hears_of_exceptions(self):
        async def main():
            heard = asyncio.get_running_loop().create_future()

            def handler(_, context):
                heard.set_result(context["exception"])

            asyncio.get_running_loop().set_exception_handler(handler)
            self.loop.attach()
            server = zcn.Server(self.loop, address="127.0.0.1", port=0)

            def fail(*_):
                raise ValueError("mine")

            server.on_data = fail
            server.start()
            _, writer = await asyncio.open_connection(*server.address)
            writer.write(b"x")
            self.assertIsInstance(await asyncio.wait_for(heard, 20), ValueError)
            writer.close()
            self.loop.detach()

        asyncio.run(main())


if __name__ == "__main__":
    unittest.main()
