import { loguxSubscribe } from '@logux/actions'
import { CrossTabClient, IndexedStore, status } from '@logux/client'
import { Reconnect, WsConnection } from '@logux/core'

import { LongPollConnection } from '../long-poll-connection.js'
import { Fallback } from './fallback.js'
import { addItem, itemsOf, matters, removeItem } from './items.js'

const form = document.querySelector('form')
const list = document.querySelector('ul')
const output = document.querySelector('output')

// One address for both ways. Something on the way may let nothing but plain requests through.
const address = await (await fetch('/sync')).text()
const connection = new Fallback(new WsConnection(address), new LongPollConnection(address), 5_000)

// The tabs of one browser share one log and one connection.
const client = new CrossTabClient({
  server: new Reconnect(connection),
  store: new IndexedStore(),
  subprotocol: 1,
  userId: 'anonymous'
})

// An action stays in the log as long as it has a reason, one that came from the server, too.
client.on('preadd', (action, meta) => {
  if (matters(action)) meta.reasons.push('list')
})
client.on('add', action => {
  if (matters(action)) show()
})

let drawn = Promise.resolve()
let asked = false

// Reads the log once for all the actions that come while it is being read.
async function show() {
  if (asked) return
  asked = true
  await drawn
  asked = false
  drawn = draw()
}

async function draw() {
  const entries = []
  await client.log.each((action, meta) => {
    entries.push([action, meta])
  })
  list.replaceChildren(...itemsOf(entries).map(row))
}

function row({ item, text }) {
  const name = document.createElement('span')
  name.textContent = text
  const button = document.createElement('button')
  button.textContent = 'Delete'
  button.onclick = () => send(removeItem({ item }))
  const line = document.createElement('li')
  line.append(name, button)
  return line
}

form.onsubmit = event => {
  event.preventDefault()
  send(addItem({ item: crypto.randomUUID(), text: form.text.value }))
  form.reset()
}

// The action is in the log, and so on the screen, at once. The promise waits for the server's
// answer, which may take until the next connection; a refusal undoes the action by itself.
function send(action) {
  client.sync(action).catch(error => console.warn(error.message))
}

status(client, state => {
  output.value = state
})
// The client dials again by itself.
client.node.catch(error => console.warn(error.message))

client.start()
send(loguxSubscribe({ channel: 'items' }))
show()
