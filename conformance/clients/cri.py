import client
class Cri(client.Client):
    name = "cri"
