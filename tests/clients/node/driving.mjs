// What the Node drivers share: the loop over commands, bytes as text, and errors with Kafka's code.

import { createInterface } from 'node:readline'
import { inspect } from 'node:util'

export const LIMIT_MS = 30_000

// Whatever a library prints must not stand between the answers.
const answerLine = process.stdout.write.bind(process.stdout)
console.log = console.info = console.warn = console.error

export async function serve (commands, codeOf) {
  for await (const line of createInterface({ input: process.stdin })) {
    let answer
    try {
      const command = JSON.parse(line)
      answer = (await commands[command.do](command)) ?? {}
    } catch (error) {
      // With what it holds inside, since the message alone often says little, but without where in the library it arose.
      answer = { error: inspect(error, { depth: 4 }).replace(/\n +at .*/g, ''), code: codeOf(error) ?? null }
    }
    answerLine(JSON.stringify(answer) + '\n')
  }
  process.exit(0)
}

export const data = text => (text == null ? null : Buffer.from(text, 'base64'))
export const text = data => (data == null ? null : Buffer.from(data).toString('base64'))
