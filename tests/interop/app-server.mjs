// The server of an application, on `@logux/server`: who has the token `right` may add todos, and
// hears of those of others in the channel `todos`.
//
//     node app-server.mjs

import { Server } from '@logux/server'
import { createServer } from 'node:http'

import { changed, serve, tap, until } from './requests.mjs'

let http = createServer()
await new Promise(resolve => http.listen(0, '127.0.0.1', resolve))

let silent = () => {}
let server = new Server({
  env: 'development',
  logger: { debug: silent, error: silent, fatal: silent, info: silent, warn: silent },
  minSubprotocol: 1,
  // It cannot be asked which free port it took: this one can.
  server: http,
  subprotocol: 2
})

let todos = []
let connections = 0
let reports = []

server.auth(({ token, userId }) => userId === '10' && token === 'right')
server.type('todo/add', {
  access: () => true,
  process(ctx, action, meta) {
    todos.push([action, meta.id])
    changed()
  },
  resend: () => ({ channel: 'todos' })
})
server.type('todo/remove', { access: () => false })
server.channel('todos', {
  access: () => true,
  load: () => ({ count: todos.length, type: 'todo/count' })
})

server.on('connected', client => {
  connections += 1
  tap(client.connection)
})
server.on('report', (name, details) => {
  if (details?.err) reports.push(`${name}: ${details.err.message}`)
})
await server.listen()

await serve({
  // Adds an action of its own, for those who are subscribed, and answers its id.
  async add({ action }) {
    let meta = await server.log.add(action, { channels: ['todos'], status: 'processed' })
    return meta.id
  },

  // What it calls itself.
  name() {
    return server.nodeId
  },

  port() {
    return http.address().port
  },

  // How many connections there were, and what went wrong on them.
  status() {
    return { connections, open: server.connected.size, reports }
  },

  // The todos that were added, once there are so many.
  async todos({ count }) {
    await until(() => todos.length >= count)
    return todos
  }
})
