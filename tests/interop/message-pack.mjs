// A connection of the original's that speaks MessagePack, by npm's `@msgpack/msgpack`.

import { decode, encode } from '@msgpack/msgpack'

// Makes a class of connections over WebSocket speak it. Who dials names it.
export function overMessagePack(Connection) {
  return class extends Connection {
    constructor(url, Class, opts) {
      super(url, Class && named(Class), opts)
    }

    init(ws) {
      super.init(ws)
      ws.binaryType = 'arraybuffer'
      ws.onmessage = ({ data }) => {
        let message
        try {
          message = decode(new Uint8Array(data))
        } catch (error) {
          this.error(error.message)
          return
        }
        this.emitter.emit('message', message)
      }
    }

    send(message) {
      if (this.ws && this.ws.readyState === this.ws.OPEN) {
        this.ws.send(encode(message))
      } else {
        this.disconnect()
      }
    }
  }
}

function named(Class) {
  return class extends Class {
    constructor(url, _, opts) {
      super(url, 'logux.message-pack', opts)
    }
  }
}
