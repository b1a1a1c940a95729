// The app of `apps.rs`, on `@logux/server`.
//
//     node posts-server.mjs

import { LoguxNotFoundError } from '@logux/actions'
import { addSyncMap, ChangedAt, Server } from '@logux/server'
import { createServer } from 'node:http'

import { serve } from './requests.mjs'

let http = createServer()
await new Promise(resolve => http.listen(0, '127.0.0.1', resolve))

let silent = () => {}
let server = new Server({
  env: 'production',
  logger: { debug: silent, error: silent, fatal: silent, info: silent, warn: silent },
  minSubprotocol: 1,
  server: http,
  subprotocol: 2
})

server.auth(({ token }) => token === 'right')

server.type('posts/add', {
  access: (ctx, action) => action.by === ctx.userId,
  process(ctx, action) {
    if (action.text === 'fail') throw new Error('on purpose')
  },
  resend: (ctx, action) => `posts/${action.room}`
})
server.type('posts/tell', {
  access: () => true,
  resend: (ctx, action) => ({ clients: action.clients ?? [], users: action.users ?? [] })
})
server.type('posts/back', {
  access: () => true,
  async process(ctx, action) {
    await ctx.sendBack({ type: 'posts/echo', text: action.text })
  }
})
server.type('posts/server', { access: () => false })
server.type(/^notes\//, { access: () => true })

server.channel('posts/:room', {
  access: ctx => ctx.params.room !== 'secret',
  load: ctx => [{ room: ctx.params.room, type: 'posts/loaded' }, { type: 'posts/second' }]
})
server.channel('filtered/:room', {
  access: () => true,
  filter: (ctx, { filter }) => (other, action) => action.n >= filter.least
})
server.type('filtered/add', {
  access: () => true,
  resend: () => ['filtered/one', 'filtered/two']
})
server.channel('gone', {
  access: () => true,
  load() {
    throw new LoguxNotFoundError()
  }
})
server.channel('broken', {
  access: () => true,
  load() {
    throw new Error('on purpose')
  }
})

let tasks = new Map()
function keep(ctx, id, fields, time) {
  let task = tasks.get(id) ?? {}
  for (let name in fields) task[name] = ChangedAt(fields[name], time)
  tasks.set(id, task)
}
addSyncMap(server, 'tasks', {
  access: (ctx, id) => id !== 'secret',
  change: keep,
  create: keep,
  delete(ctx, id) {
    tasks.delete(id)
  },
  load(ctx, id) {
    if (!tasks.has(id)) throw new LoguxNotFoundError()
    return { id, ...tasks.get(id) }
  }
})

await server.listen()

await serve({
  port() {
    return http.address().port
  }
})
