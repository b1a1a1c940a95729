// How long two nodes of the original's own core take for live events, over a WebSocket of this machine:
// `benches/peers` compares with it. Prints milliseconds, once all events are confirmed.
//
//     NODE_ENV=production node throughput.mjs <text or binary> <stored events> <live events>
//
// Without stored events nothing is kept, as on a server of which each event is handled and gone. With some, all are.

import { once } from 'node:events'
import { setImmediate } from 'node:timers/promises'
import {
  ClientNode,
  Log,
  MemoryStore,
  ServerConnection,
  ServerNode,
  WsBinaryConnection,
  WsConnection
} from 'core-7'
import { WebSocket, WebSocketServer } from 'ws'

let [, , format, stored, events] = process.argv
stored = Number(stored)
events = Number(events)
let reasons = stored > 0 ? ['kept'] : []

let near = new Log({ nodeId: 'client', store: new MemoryStore() })
let far = new Log({ nodeId: 'server', store: new MemoryStore() })
for (let value = 0; value < stored; value++) {
  await near.add({ type: 'counter/inc', value }, { reasons })
}

let received = []
far.on('preadd', (action, meta) => {
  meta.reasons = reasons
})
far.on('add', action => {
  received.push(action.value)
})

let server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
await once(server, 'listening')
server.on('connection', ws => {
  new ServerNode('server', far, new ServerConnection(ws))
})
let Connection = format === 'binary' ? WsBinaryConnection : WsConnection
let url = `ws://127.0.0.1:${server.address().port}`
let connection = new Connection(url, WebSocket)
let client = new ClientNode('client', near, connection, { fixTime: false })
connection.connect()
await client.waitFor('synchronized')
// It may say so before it has sent what it had.
while (received.length < stored) await setImmediate()
await client.waitFor('synchronized')

let start = performance.now()
for (let value = 0; value < events; value++) {
  await near.add({ type: 'counter/inc', value: stored + value }, { reasons })
  // A turn of the event loop now and then, or nothing is sent before all are added.
  if (value % 100 === 99) await setImmediate()
}
await client.waitFor('synchronized')
let took = performance.now() - start

if (received.length !== stored + events || received.some((value, n) => value !== n)) {
  throw new Error(`not each of ${events} events came once and in order`)
}
process.stdout.write(`${took}\n`)
process.exit()
